"""Where trials run: a local Ray instance started for this sweep, or a cluster that is there.

Always with a token, whose holders alone can run programs on it: one that only this process and its
children know for a local instance, the cluster's to join a cluster. RAY_AUTH_MODE, if set, wins.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsefront.errors import InputError
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.driver.own_code import (
    environment_of,
    launch_folder_seen,
    require_on_workers,
)
from sparsefront.search.driver.resources import require_resources

CONNECT_S = 5.0


@contextmanager
def ray_connection(address: str | None, sweep: Sweep, wait_s: float = 0.0) -> Iterator[None]:
    """Ray, started or joined, and left again. None and "local": started for this sweep, with a
    CPU slot for every worker. A cluster is joined with its token unless RAY_AUTH_MODE says
    otherwise. InputError where the address does not answer, or refuses, or where no node has room
    for a trial within `wait_s`.
    """
    local = address in (None, "local")
    if local:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else one in ~/.ray
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray listens on loopback
        os.environ.setdefault("RAY_worker_niceness", "0")
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "1"  # no GPU asked for: none is seen
    else:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")  # a refusal is told in seconds
        if address != "auto":
            check_address(str(address))
        check_token(str(address))
    own_code = {} if local else environment_of(sweep)
    import ray

    if local:
        slots = max(os.cpu_count() or 1, math.ceil(sweep.workers * sweep.cpus_per_trial))
        with launch_folder_seen(sweep):
            ray.init(
                address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False,
                logging_level=logging.ERROR,
            )  # fmt: skip
    else:
        try:
            ray.init(
                address=address, log_to_driver=False, logging_level=logging.ERROR,
                runtime_env=own_code or None,
            )  # fmt: skip
        except ConnectionError as error:
            raise InputError(f"--address: value {address!r}: {_refusal(error)}") from error
    try:
        require_resources(sweep, wait_s)
        require_on_workers(sweep)
        yield
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """InputError unless something listens at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    wrong = f"--address: value {address!r}"
    if "/" in address or not host or not port.isdigit():
        raise InputError(f"{wrong}; allowed: auto, local or HOST:PORT, from a node of the cluster")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise InputError(
            f"{wrong}: {error}; allowed: a running Ray cluster, or local: this machine alone"
        ) from error


def check_token(address: str) -> None:
    """InputError where the cluster's token is asked for and there is none, or an empty one."""
    if _mode() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    try:
        if token_file().read_text().strip():
            return
        reason = "is empty"
    except OSError as error:
        reason = str(error.strerror)
    raise InputError(
        f"--address: value {address!r}: no token of the cluster: {token_file()}: {reason}; "
        "allowed: the token in that file, in RAY_AUTH_TOKEN or in the file that "
        "RAY_AUTH_TOKEN_PATH names; RAY_AUTH_MODE=disabled for a cluster without authentication"
    )


def token_file() -> Path:
    """Where Ray looks for the token unless RAY_AUTH_TOKEN holds it."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def _mode() -> str:
    return os.environ.get("RAY_AUTH_MODE", "").lower()


def _refusal(error: ConnectionError) -> str:
    """Why the cluster was not joined, and what to do."""
    if "InvalidAuthToken" not in str(error.__cause__):
        return f"{str(error).splitlines()[0]}; allowed: local, or a running Ray cluster"
    ours = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(token_file())
    if _mode() != "token":
        ours = f"no token (RAY_AUTH_MODE={_mode()})"
    return (
        f"the cluster refuses {ours}; allowed: RAY_AUTH_MODE=token with the token that its nodes "
        "were started with, in RAY_AUTH_TOKEN or in the file that RAY_AUTH_TOKEN_PATH names"
    )
