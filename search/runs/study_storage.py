"""Where Optuna keeps what was asked and told: a file of its own, a database, or memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from search.runs.passwords import masked

WRONG = (
    OptunaError, ImportError, ValueError, RuntimeError, IsADirectoryError, NotADirectoryError,
    PermissionError,
)  # fmt: skip


def opened(storage: str | Path | None) -> BaseStorage:
    """A file is Optuna's journal, a URI a database; None: memory. ValueError, in one line, where it
    cannot be opened.
    """
    with in_one_line(storage):
        if storage is None:
            return InMemoryStorage()
        return RDBStorage(str(storage)) if "://" in str(storage) else _journal(Path(storage))


@contextlib.contextmanager
def in_one_line(storage: str | Path | None) -> Iterator[None]:
    """What is wrong with a storage as a ValueError of one line that shows no password."""
    try:
        yield
    except _wrong(storage) as error:
        reason = masked(" ".join(str(error).split())).partition(" (Background on this")[0]
        raise ValueError(
            f"storage: value {masked(str(storage))!r} cannot be opened: {reason[:200]}; allowed: a "
            "file, or the URI of a database that answers (sqlite:///FILE, "
            "postgresql://USER@HOST/DATABASE)"
        ) from error


def _wrong(storage: str | Path | None) -> tuple[type[Exception], ...]:
    if "://" not in str(storage):
        return WRONG
    from sqlalchemy.exc import SQLAlchemyError  # slow to import

    return (*WRONG, SQLAlchemyError)


def _journal(path: Path) -> JournalStorage:
    """A lock that a killed process left behind goes: whoever opens the journal here is alone (the
    driver's own lock sees to that).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.lock")
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
