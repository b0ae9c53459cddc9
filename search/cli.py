"""The `sparsefront` command: parses a verb, runs it, turns errors into exit statuses.

stdout carries the answer (with --json exactly one JSON document), stderr progress and logs. Exit
status 0 done, 1 failed, 2 wrong input in one line.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import tyro

from search.answers import Failed
from search.verbs import Verb

_OPTIONS = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.FlagCreatePairsOff,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 failed, 2 wrong input."""
    _quiet()
    try:
        verb = _parse(list(sys.argv[1:] if argv is None else argv))
        with contextlib.redirect_stdout(sys.stderr):
            answer = verb.run()
        print(answer, flush=True)
        return 0
    except ValueError as error:
        if os.environ.get("SPARSEFRONT_TRACEBACK"):
            traceback.print_exc()
        print(f"sparsefront: {_in_one_line(str(error))}", file=sys.stderr)
        return 2
    except Failed as failure:
        print(f"sparsefront: {_in_one_line(str(failure))}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("sparsefront: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        traceback.print_exc()
        print(f"sparsefront: {type(error).__name__}: {_in_one_line(str(error))}", file=sys.stderr)
        return 1


def _parse(argv: list[str]) -> Any:
    """The verb of a command line. ValueError for a wrong one; --help prints and exits 0."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(Verb, prog="sparsefront", args=_merge_set(argv), config=_OPTIONS)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_unboxed(said.getvalue())) from None


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


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _quiet() -> None:
    """Defaults that keep the answer readable; what the user has set wins."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")


if __name__ == "__main__":
    sys.exit(main())
