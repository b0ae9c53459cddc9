"""Files that the user names for output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsefront.errors import InputError


def check_suffix(option: str, path: Path, allowed: tuple[str, ...]) -> None:
    """InputError unless the file's name ends in one of these."""
    if path.suffix.lower() not in allowed:
        names = " or ".join(allowed)
        raise InputError(f"{option}: value {str(path)!r}; allowed: a name ending in {names}")


@contextmanager
def writable(option: str, path: Path) -> Iterator[None]:
    """InputError in one line where what is inside cannot write to the user's path."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{option}: value {str(path)!r} cannot be written ({error.strerror}); allowed: a place "
            "in a folder that you may write to"
        ) from error
