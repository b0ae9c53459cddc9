"""How the command line's answers are written: JSON, two-column text, progress on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Failed(Exception):
    """The work itself failed, for a reason that one line says: exit status 1."""


def require_sweep(name: str, out: str | Path, option: str = "--out") -> None:
    """ValueError naming the sweeps there are, unless OUT holds this one."""
    from search.runs.run_store import run_folder

    run_folder(out, name, option).require()


def where_to_look(name: str, out: str | Path) -> str:
    """The lines under a finished sweep's table: picture, report, MLflow page, export."""
    from search.runs.run_store import run_folder

    run = run_folder(out, name).pulled()
    runs = "" if str(out) == "runs" else f" --runs {out}"
    out_option = "" if str(out) == "runs" else f" --out {out}"
    return (
        f"picture {run.place}/front.png\n"
        f"report  {run.place}/report.html\n"
        f"MLflow  {program('sparsefront')} ui {name}{out_option}\n"
        f"export  {program('sparsefront')} export {name} --pick knee --out {name}-knee{runs}"
    )


def program(name: str) -> str:
    """How to call a program of this environment from the current folder."""
    beside = Path(sys.executable).parent / name
    if shutil.which(name) is not None or not beside.is_file():
        return name
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def all_given(verb: str, options: dict[str, Any]) -> tuple[Any, ...]:
    """The options' values; ValueError naming those not given."""
    missing = [name for name, value in options.items() if value is None]
    if missing:
        raise ValueError(
            f"{verb}: missing {', '.join(missing)}; allowed: an exported folder, "
            f"or all of {', '.join(options)}"
        )
    return tuple(options.values())


def report_to_stderr() -> Callable[[str, float], None]:
    """A report callback that prints each stage at every tenth of its way."""
    shown: set[tuple[str, int]] = set()

    def report(stage: str, fraction: float) -> None:
        tenth = (stage, int(fraction * 10))
        if tenth not in shown:
            shown.add(tenth)
            print(f"{stage} {fraction:.0%}", file=sys.stderr, flush=True)

    return report


def as_json(data: Any) -> str:
    """One JSON document."""
    return json.dumps(data, indent=2)


def plain(data: Any) -> Any:
    """Tuples as lists, as YAML and JSON have no tuples."""
    return json.loads(json.dumps(data))


def prefixed(prefix: str, values: dict[str, float]) -> dict[str, float]:
    """The same values under `prefix.name`."""
    return {f"{prefix}.{name}": value for name, value in values.items()}


def as_table(rows: dict[str, Any]) -> str:
    """Two columns; floats to four places."""
    width = max(map(len, rows))
    return "\n".join(
        f"{name:<{width}}  {value:.4f}" if isinstance(value, float) else f"{name:<{width}}  {value}"
        for name, value in rows.items()
    )
