"""The `sparsefront` command: parses a verb, runs it, turns errors into exit statuses.

stdout carries the answer (with --json exactly one JSON document), stderr progress and logs. Exit
status 0 done, 1 failed, 2 wrong input in one line.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import tyro

from sparsefront.errors import ExecutionError, InputError, one_line, one_line_with_type
from sparsefront.search.cli.verbs import Verb

_OPTIONS = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.FlagCreatePairsOff,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 failed, 2 wrong input."""
    _quiet()
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"sparsefront {metadata.version('sparsefront')}")
        return 0
    try:
        verb = _parse(words)
        with contextlib.redirect_stdout(sys.stderr):
            answer = verb.run()
        print(answer, flush=True)
        return 0
    except InputError as error:
        if os.environ.get("SPARSEFRONT_TRACEBACK"):
            traceback.print_exc()
        print(f"sparsefront: {one_line(error)}", file=sys.stderr)
        return 2
    except ExecutionError as failure:
        print(f"sparsefront: {one_line(failure)}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("sparsefront: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        traceback.print_exc()
        print(f"sparsefront: {one_line_with_type(error)}", file=sys.stderr)
        return 1


def _parse(argv: list[str]) -> Any:
    """The verb of a command line. InputError for a wrong one; --help prints and exits 0."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                Verb, prog="sparsefront", args=_merge_set(_renamed(argv)), config=_OPTIONS
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(_unboxed(said.getvalue())) from None


def _renamed(argv: list[str]) -> list[str]:
    """`--out` as `--runs` where it was the folder of all runs in version 0.1."""
    if not argv or argv[0] not in ("sweep", "resume", "front", "ui"):
        return argv
    return [re.sub(r"^--out(?=$|=)", "--runs", word) for word in argv]


def _merge_set(argv: list[str]) -> list[str]:
    """`--set a=1 --set b=2` as `--set a=1 b=2`, the form that the parser reads."""
    seen = False
    merged = []
    for word in argv:
        if word == "--set" and seen:
            continue
        seen = seen or word == "--set"
        merged.append(word)
    return merged


def _unboxed(text: str) -> str:
    """The parser's message without its frame and its pointer to --help."""
    stripped = [line.strip("╭╮╰╯│─|+ ") for line in text.splitlines()]
    _title, *lines = [line for line in stripped if line.strip("-")] or [""]
    message = " ".join(lines)
    return message.partition(" For full helptext")[0].partition(" Argument helptext")[0]


def _quiet() -> None:
    """Defaults that keep the answer readable; what the user has set wins."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")


if __name__ == "__main__":
    sys.exit(main())
