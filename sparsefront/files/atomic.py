"""Files that are there whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparsefront.errors import InputError, one_line


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path`, empty, to be filled inside; on leaving it takes the place of
    `path` in one step, or is removed where an error leaves. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Any content."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, data: Any) -> None:
    """JSON with two spaces of indentation; floats keep every bit."""
    write_bytes(path, (json.dumps(data, indent=2) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """InputError for a missing or corrupt file."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON: {one_line(error)}") from error


def drop_torn_line(journal: Path) -> None:
    """Cuts a last line that a full disk or a power cut left without its end: what is appended to
    it could not be read again.
    """
    if not journal.is_file():
        return
    with open(journal, "r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def sha256_of(path: str | os.PathLike[str]) -> str | None:
    """SHA-256 of a file as hexadecimal digits; None where it is not there."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
