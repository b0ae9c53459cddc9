"""Where trials run: a Ray of one's own on this machine, or a cluster that is there already."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from search.sweep_file import Sweep

CONNECT_S = 5.0


@contextmanager
def connected(address: str | None, sweep: Sweep) -> Iterator[None]:
    """Ray, started or joined, and left again. None and "local": started for this sweep, with a
    CPU slot for every worker. RuntimeError where the address does not answer.
    """
    local = address in (None, "local")
    if local:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # loopback only, gone with this process
        os.environ.setdefault("RAY_worker_niceness", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    elif address != "auto":
        check_address(str(address))
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


def check_address(address: str) -> None:
    """ValueError unless something listens at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    wrong = f"--address: value {address!r}"
    if "/" in address or not host or not port.isdigit():
        raise ValueError(f"{wrong}; allowed: auto, local or HOST:PORT, from a node of the cluster")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise ValueError(f"{wrong}: {error}; allowed: a running Ray cluster") from error
