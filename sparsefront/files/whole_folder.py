"""A folder that is there complete or not at all, however its maker ends.

It is filled under a hidden name beside its place and renamed in one step. The maker holds a lock on
it, which goes with the process: what a killed one left has none, and the next maker clears it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsefront.errors import InputError


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it becomes `path` at the end, which must be new or empty. InputError where
    nothing can be written there.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_abandoned(path)
        made, lock = _locked(path)
    except OSError as error:
        raise InputError(
            f"--out: value {str(path)!r}: {error.strerror}: {error.filename}; allowed: a folder "
            "that can be written"
        ) from error
    try:
        yield made
        made.chmod(0o755)
        os.rename(made, path)  # takes the place of an empty folder too
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def clear_abandoned(path: Path) -> None:
    """Removes what makers of `path` left that are no more."""
    for left in path.parent.glob(f".{path.name}.*"):
        if not left.is_dir():
            continue
        handle = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its maker lives
        else:
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(handle)


def _locked(path: Path) -> tuple[Path, int]:
    """A new folder and the handle of its lock; again where another maker cleared it in between."""
    while True:
        made = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            handle = os.open(made, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            continue
        if made.is_dir():
            return made, handle
        os.close(handle)
