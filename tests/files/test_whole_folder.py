"""Folders that are there complete or not at all, however their maker ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sparsefront.errors import InputError
from sparsefront.files.whole_folder import clear_abandoned, whole_folder


def test_folder_takes_its_place_when_it_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with whole_folder(out) as filled:
        (filled / "weights").write_text("all")
        assert not out.exists()
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    assert (out / "weights").read_text() == "all"


def test_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with whole_folder(tmp_path / "out") as filled:
            (filled / "weights").write_text("half")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_has_something_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")

    def fill() -> None:
        with whole_folder(tmp_path / "out") as filled:
            (filled / "new").write_text("new")

    with pytest.raises(OSError, match="not empty"):
        fill()
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "old"]


def test_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="allowed: a folder that can be written"):
        whole_folder(tmp_path / "file" / "out").__enter__()


FILL = """
import sys, time
from pathlib import Path
from sparsefront.files.whole_folder import whole_folder
with whole_folder(Path(sys.argv[1])) as filled:
    (filled / "weights").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_killed_writers_leave_nothing(tmp_path: Path) -> None:
    """Killed while it writes: no folder; the next one to write clears what was left, not what
    others are at work on.
    """
    out, other = tmp_path / "out", tmp_path / "other"
    makers = [
        subprocess.Popen([sys.executable, "-c", FILL, str(place)], stdout=subprocess.PIPE)
        for place in (out, out, other)
    ]
    for maker in makers:
        assert maker.stdout is not None and maker.stdout.readline() == b"writing\n"
    for killed in (makers[0], makers[2]):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert not out.exists()
    assert len(list(tmp_path.glob(".out.*"))) == 2
    with whole_folder(out) as filled:
        (filled / "weights").write_text("all")
    assert (out / "weights").read_text() == "all"
    assert len(list(tmp_path.glob(".out.*"))) == 1  # the other maker's, who lives
    assert len(list(tmp_path.glob(".other.*"))) == 1
    makers[1].kill()
    makers[1].wait()
    clear_abandoned(out)
    clear_abandoned(other)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
