"""Where trials run: a Ray of one's own on this machine, or a cluster that is there already."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

from search.sweep_file import Sweep


@contextmanager
def connected(address: str | None, sweep: Sweep) -> Iterator[None]:
    """Ray, started or joined, and left again. None and "local": started for this sweep, with a
    CPU slot for every worker. RuntimeError where the address does not answer.
    """
    local = address in (None, "local")
    if address is not None and address.startswith("ray://"):
        raise ValueError(
            f"--address: value {address!r}; allowed: auto or HOST:PORT, from a node of the cluster "
            "(Tune keeps its state in the driver, which a ray:// client is not)"
        )
    if local:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # loopback only, gone with this process
        os.environ.setdefault("RAY_worker_niceness", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if local:
        slots = max(os.cpu_count() or 1, math.ceil(sweep.workers * sweep.cpus_per_trial))
        ray.init(
            address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR,
        )  # fmt: skip
    else:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"--address: value {address!r}: {reason}; allowed: local, or a running Ray cluster"
            ) from error
    try:
        yield
    finally:
        ray.shutdown()
