"""The errors that end a command with one line, and errors of others said in one line.

Kept free of torch and of every other package: the process that watches a worker's limits imports
this and has to start within a tenth of a second.
"""

from __future__ import annotations

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """What the user gave cannot be used: exit status 2. The message is one line that names the
    file, the field, its value and what is allowed.

    Any other ValueError is a fault of this program and keeps its traceback.
    """


class ExecutionError(Exception):
    """The work itself failed, for a reason that one line says: exit status 1."""


def one_line(error: BaseException, longest: int | None = None) -> str:
    """The text of an error with its white space folded; the name of its class where it has none.

    longest  cut after so many characters; None: never
    """
    return (" ".join(str(error).split()) or type(error).__name__)[:longest]


def one_line_with_type(error: BaseException, longest: int | None = None) -> str:
    """The same after the name of the error's class, as in `KeyError: 'camera'`."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")[:longest]


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    text = str(error)  # of safetensors, or of Ray Tune around an error of ours
    return any(f"os error {n})" in text or f"[Errno {n}]" in text for n in DISK_FULL)
