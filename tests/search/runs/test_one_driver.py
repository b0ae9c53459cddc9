"""Who may drive a sweep behind a URI."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from sparsefront.errors import InputError
from sparsefront.search.runs import one_driver
from sparsefront.search.runs.one_driver import only_driver
from sparsefront.search.runs.run_folder import RunFolder, run_folder, working_copy
from sparsefront.search.runs.shared_storage import SharedStorage, StorageLost


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_driver, "LEASE_S", 1.0)
    monkeypatch.setattr(one_driver, "RENEW_S", 0.2)
    monkeypatch.setattr(one_driver, "SETTLE_S", 0.1)


@pytest.mark.usefixtures("quick")
def test_second_driver_is_refused_while_the_first_lives(uri: str, kept: RunFolder) -> None:
    """Refused while the first one lives, and free at once when it has ended."""
    with (
        working_copy(run_folder(uri, "one")) as first,
        working_copy(run_folder(uri, "one")) as second,
    ):
        with only_driver(first) as lease:
            said = rf"sweep 'one' is running already in {uri}/one, by process \d+ on "
            with pytest.raises(InputError, match=said), only_driver(second):
                raise AssertionError
            assert lease is not None and lease.lost_because is None
        began = time.monotonic()
        with only_driver(second):
            assert time.monotonic() - began < 0.9
    assert not (kept.path / "driver.json").exists()


@pytest.mark.usefixtures("quick")
def test_lease_of_a_killed_driver_runs_out(uri: str, kept: RunFolder) -> None:
    """Its object is there and nobody renews it."""
    kept.path.mkdir(parents=True)
    (kept.path / "driver.json").write_text(
        '{"driver": "gone", "host": "far", "pid": 7, "beats": 3}'
    )
    with working_copy(run_folder(uri, "one")) as run, only_driver(run) as lease:
        assert lease is not None and lease.lost_because is None


@pytest.mark.usefixtures("quick")
def test_of_drivers_at_once_one_goes_on(uri: str) -> None:
    """Of several that find the sweep free one goes on."""
    going, ended = [], threading.Barrier(3)

    def drive() -> None:
        with working_copy(run_folder(uri, "one")) as run:
            try:
                with only_driver(run):
                    going.append(run)
                    ended.wait(10)
            except InputError:
                ended.wait(10)

    drivers = [threading.Thread(target=drive) for _ in range(3)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert len(going) == 1


@pytest.mark.usefixtures("quick")
def test_driver_taken_for_dead_notices_and_leaves_the_lease(uri: str, kept: RunFolder) -> None:
    """It notices within a renewal, and leaves the other one's object alone."""
    with working_copy(run_folder(uri, "one")) as run:
        with only_driver(run) as lease:
            assert lease is not None
            (kept.path / "driver.json").write_text('{"driver": "another", "beats": 1}')
            time.sleep(0.5)
            assert lease.lost_because == f"another driver goes on with {uri}/one; this one stops"
        assert (kept.path / "driver.json").exists()


@pytest.mark.usefixtures("quick")
def test_driver_that_cannot_renew_loses_its_lease(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with working_copy(run_folder(uri, "one")) as run, only_driver(run) as lease:
        assert lease is not None
        monkeypatch.setattr(SharedStorage, "read", _refuses)
        time.sleep(1.3)
        assert (
            lease.lost_because is not None and "could not be renewed for 1 s" in lease.lost_because
        )


def _refuses(self: SharedStorage, file: Path) -> bytes | None:
    raise StorageLost("no answer")
