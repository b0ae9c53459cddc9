"""Where Optuna keeps which trials were requested and how they ended: a file, a database, memory."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError, StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from sparsefront.errors import InputError, one_line
from sparsefront.search.config.passwords import mask_passwords

WRONG = (
    OptunaError, ImportError, ValueError, RuntimeError, IsADirectoryError, NotADirectoryError,
    PermissionError,
)  # fmt: skip

StudyLost = StorageInternalError
"""What Optuna raises where a database stops answering; connection_error_message has the words."""
PATIENCE_S, PAUSE_S = 30.0, 1.0
"""A database of many machines has its moments: how long a connection is tried for, and how often.
"""
BY_LIBPQ = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
LIBPQ = {
    "connect_timeout": 10, "tcp_user_timeout": 30_000,
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4,
}  # fmt: skip
"""Seconds, but for the milliseconds of tcp_user_timeout, after which a host that vanished without a
word is given up.
"""


def open_storage(storage: str | Path | None) -> BaseStorage:
    """A file is Optuna's journal, a URI a database; None: memory. InputError, in one line, where it
    cannot be opened.
    """
    with in_one_line(storage):
        if storage is None:
            return InMemoryStorage()
        return _database(str(storage)) if "://" in str(storage) else _journal(Path(storage))


def connection_error_message(storage: str | None, error: BaseException) -> str:
    """Why a storage that was open fails, in one line without its password."""
    reason = _reason(error.__cause__ or error)
    return f"storage: value {mask_passwords(str(storage))!r} fails: {reason}"


@contextlib.contextmanager
def in_one_line(storage: str | Path | None) -> Iterator[None]:
    """What is wrong with a storage as a InputError of one line that shows no password."""
    try:
        yield
    except _wrong(storage) as error:
        raise InputError(
            f"storage: value {mask_passwords(str(storage))!r} cannot be opened: {_reason(error)}; "
            "allowed: a file, or the URI of a database that answers (sqlite:///FILE, "
            "postgresql://USER@HOST/DATABASE)"
        ) from error


def _wrong(storage: str | Path | None) -> tuple[type[Exception], ...]:
    if "://" not in str(storage):
        return WRONG
    from sqlalchemy.exc import SQLAlchemyError  # slow to import

    return (*WRONG, SQLAlchemyError)


def _reason(error: BaseException) -> str:
    return mask_passwords(one_line(error)).partition(" (Background on this")[0][:200]


def _database(uri: str) -> RDBStorage:
    """Once open it may be started again: connections that it dropped are made anew."""
    from sqlalchemy import event
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    patience = LIBPQ if url.drivername in BY_LIBPQ else {}
    arguments = {name: value for name, value in patience.items() if name not in url.query}
    storage = RDBStorage(uri, engine_kwargs={"pool_pre_ping": True, "connect_args": arguments})
    event.listen(storage.engine, "do_connect", _connected)
    return storage


def _connected(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
    """A new connection, tried for PATIENCE_S."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.Error:
            if time.monotonic() >= until:
                raise
            time.sleep(PAUSE_S)


def _journal(path: Path) -> JournalStorage:
    """A lock that a killed process left behind goes: whoever opens the journal here is alone (the
    driver's own lock sees to that).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.lock")
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
