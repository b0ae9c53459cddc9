"""The front, or all finished trials, as a Parquet table; docs/inspect.md has the columns."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from sparsefront.files.atomic import write_bytes
from sparsefront.search.config.space import Value
from sparsefront.search.reports.charts.heat_map import stage_sparsity
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.trial_reader import StoredTrial


def save_table(view: SweepView, path: Path) -> None:
    """Writes the table of all finished trials, those of the front first, by a temporary name."""
    content = io.BytesIO()
    parquet.write_table(table(view), content)
    write_bytes(path, content.getvalue())


def table(view: SweepView) -> pa.Table:
    """One row a finished trial; units of the columns in their metadata."""
    ringed = view.ringed()
    rows = [_row(view, t, on_front=True) for t in view.front.points]
    rows += [_row(view, t, on_front=False) for t in view.front.others]
    for row in rows:
        row["knee"] = ringed is not None and row["trial"] == ringed.trial_id
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    found = pa.table(columns) if rows else pa.table({"trial": pa.array([], pa.int64())})
    described = {
        "sweep": view.name,
        "hypervolume": repr(view.front.hypervolume),
        "objectives": json.dumps({o.name: o.direction for o in view.front.objectives}),
        "units": json.dumps({o.name: o.unit for o in view.front.objectives if o.unit}),
    }
    return found.replace_schema_metadata({**(found.schema.metadata or {}), **described})


def _row(view: SweepView, trial: StoredTrial, *, on_front: bool) -> dict[str, Any]:
    result, number = trial.result, trial.trial_id
    row: dict[str, Any] = {"trial": number, "on_front": on_front, "knee": False}
    row["baseline"] = view.baselines.get(number, "")
    row |= result.metrics
    row |= {f"removed.{name}": share for name, share in result.per_modality_sparsity.items()}
    row |= {f"removed.{name}": share for name, share in stage_sparsity(trial).items()}
    row |= {f"GMACs.{name}": value for name, value in result.per_modality_GMACs.items()}
    row |= {f"field.{name}": _plain(v) for name, v in view.values.get(number, {}).items()}
    return row | {
        name: result.timings[name] for name in ("total_s", "cpu_s") if name in result.timings
    }


def _plain(value: Value) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
