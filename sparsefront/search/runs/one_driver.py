"""One driver a sweep: a lock on the run folder, or in shared storage an object that is renewed.

A lock goes with its process. An object cannot, so it counts as left behind once nobody has renewed
it for LEASE_S: by then its driver has noticed too, and stops before it proposes anything more.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sparsefront.errors import InputError
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.shared_storage import SharedStorage, StorageLost

LEASE_S = 45.0
RENEW_S = 10.0
SETTLE_S = 1.0


class Lease:
    """A driver's right to a sweep; `lost_because` says why it has none any more, or None."""

    def __init__(self, run: RunFolder, shared: SharedStorage) -> None:
        self._run, self._shared = run, shared
        self._file = run.path / "driver.json"
        self._us = {"driver": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid()}
        self._beats = 0
        self._renewed = 0.0
        self._taken = False
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    @property
    def lost_because(self) -> str | None:
        if self._taken:
            return f"another driver goes on with {self._run.display_uri}; this one stops"
        if time.monotonic() - self._renewed > LEASE_S:
            return (
                f"{self._run.display_uri}/driver.json could not be renewed for {LEASE_S:g} s, so "
                f"another driver may take over; {self._run.resume_command()} goes on when the "
                "storage answers"
            )
        return None

    def __enter__(self) -> Lease:
        """Waits until nobody renews the object any more. InputError where somebody does."""
        self._wait_for_others()
        began = time.monotonic()
        if not self._shared.create(self._file, self._beat()):
            raise self._refused(self._shared.read(self._file))
        time.sleep(SETTLE_S)  # of two who found it free, the second to write stays
        found = self._shared.read(self._file)
        if not self._is_ours(found):
            raise self._refused(found)
        self._renewed = began
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._renewing.join()
        with suppress(StorageLost):  # then it runs out
            if self._is_ours(self._shared.read(self._file)):
                self._shared.remove(self._file)

    def _wait_for_others(self) -> None:
        found = self._shared.read(self._file)
        if found is None:
            return
        print(
            f"sweep {self._run.name!r} has a driver, {_told(found)}; whether it lives shows within "
            f"{LEASE_S:g} s",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        began = time.monotonic()
        while time.monotonic() - began < LEASE_S:
            time.sleep(min(RENEW_S, LEASE_S) / 4)
            now = self._shared.read(self._file)
            if now is None:
                return
            if now != found:
                raise self._refused(now)
        self._shared.remove(self._file)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            with suppress(StorageLost):  # `lost_because` says so when it lasts
                began = time.monotonic()
                if not self._is_ours(self._shared.read(self._file)):
                    self._taken = True
                    return
                self._shared.write(self._file, self._beat())
                self._renewed = began

    def _beat(self) -> bytes:
        self._beats += 1
        return json.dumps({**self._us, "beats": self._beats}).encode()

    def _is_ours(self, content: bytes | None) -> bool:
        return content is not None and _read(content).get("driver") == self._us["driver"]

    def _refused(self, content: bytes | None) -> InputError:
        by = "" if content is None else f", by {_told(content)}"
        return InputError(
            f"sweep {self._run.name!r} is running already in {self._run.display_uri}{by}"
        )


@contextmanager
def only_driver(run: RunFolder) -> Iterator[Lease | None]:
    """This process alone drives the sweep. InputError where another one does."""
    if run.shared is not None:
        with Lease(run, run.shared) as lease:
            yield lease
        return
    run.path.mkdir(parents=True, exist_ok=True)
    with open(run.path / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"sweep {run.name!r} is running already in {run.path}") from None
        yield None


def _told(content: bytes) -> str:
    found = _read(content)
    return f"process {found.get('pid')} on {found.get('host')}"


def _read(content: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(content)
        return found
    except ValueError:
        return {}
