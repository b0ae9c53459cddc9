"""Files that appear whole or not at all: pictures, pages, tables."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from search.run_store import write_bytes


def save_picture(figure: Any, path: Path) -> None:
    """A matplotlib figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    put(path, content.getvalue())


def put(path: Path, content: bytes) -> None:
    """Any content. ValueError in one line where the place cannot be written to."""
    try:
        write_bytes(Path(path), content)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror}); allowed: a file in a folder of yours"
        ) from error


def check_suffix(option: str, path: Path, allowed: tuple[str, ...]) -> None:
    """ValueError unless the file's name ends in one of these."""
    if path.suffix.lower() not in allowed:
        names = " or ".join(f"FILE{suffix}" for suffix in allowed)
        raise ValueError(f"{option}: value {str(path)!r}; allowed: {names}")
