"""What verbs print: JSON, two-column text, where to look next, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsefront.errors import InputError
from sparsefront.search.config.programs import program
from sparsefront.search.runs.run_folder import RUNS, run_folder

if TYPE_CHECKING:
    from sparsefront.search.config.device import Device


def require_sweep(name: str, runs: str | Path) -> None:
    """InputError naming the sweeps there are, unless RUNS holds this one."""
    run_folder(runs, name).require()


def require_new(out: Path) -> None:
    """InputError where there is something already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out: value {str(out)!r} exists; allowed: a new folder")


def where_to_look(name: str, runs: str | Path) -> str:
    """The lines under a finished sweep's table: picture, report, MLflow page, export."""
    run = run_folder(runs, name).pull()
    option = "" if str(runs) == RUNS else f" --runs {runs}"
    return (
        f"picture {run.display_uri}/front.png\n"
        f"report  {run.display_uri}/report.html\n"
        f"MLflow  {program('sparsefront')} ui {name}{option}\n"
        f"export  {program('sparsefront')} export {name} --pick knee --out {name}-knee{option}"
    )


def require_all(verb: str, options: dict[str, Any]) -> tuple[Any, ...]:
    """The options' values; InputError naming those not given."""
    missing = [name for name, value in options.items() if value is None]
    if missing:
        raise InputError(
            f"{verb}: missing {', '.join(missing)}; allowed: an exported folder, "
            f"or all of {', '.join(options)}"
        )
    return tuple(options.values())


def computing_on(device: Device) -> str:
    """The device that this means here, said on stderr. InputError for one that cannot be used."""
    from sparsefront.search.config.device import resolve_device
    from sparsefront.search.trial.provenance import device_name

    found = resolve_device(device)
    print(f"device: {found} ({device_name(found)})", file=sys.stderr, flush=True)
    return found


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


def with_prefix(prefix: str, values: dict[str, float]) -> dict[str, float]:
    """The same values under `prefix.name`."""
    return {f"{prefix}.{name}": value for name, value in values.items()}


def as_table(rows: dict[str, Any]) -> str:
    """Two columns; counts as whole numbers, other floats to four places or a power of ten."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in rows.items())


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if value.is_integer() and abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
