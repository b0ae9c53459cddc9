"""Files that appear whole or not at all: pictures, pages, tables."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.runs.run_store import write_bytes


def save_picture(figure: Any, path: Path) -> None:
    """A matplotlib figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())


@contextmanager
def writable(option: str, path: Path) -> Iterator[None]:
    """ValueError in one line where what is inside cannot write to the user's path."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{option}: value {str(path)!r} cannot be written ({error.strerror}); allowed: a place "
            "in a folder that you may write to"
        ) from error


def check_suffix(option: str, path: Path, allowed: tuple[str, ...]) -> None:
    """ValueError unless the file's name ends in one of these."""
    if path.suffix.lower() not in allowed:
        names = " or ".join(allowed)
        raise ValueError(f"{option}: value {str(path)!r}; allowed: a name ending in {names}")
