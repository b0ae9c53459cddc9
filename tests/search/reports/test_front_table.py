"""All finished trials as a table."""

from __future__ import annotations

import json

import pytest

from sparsefront.search.reports.front_table import table
from sparsefront.search.reports.sweep_view import SweepView


def test_table_has_a_row_a_trial_and_its_units(view: SweepView) -> None:
    found = table(view)
    rows = found.to_pylist()
    assert [r["trial"] for r in rows if r["on_front"]] == [p.trial_id for p in view.front.points]
    assert len(rows) == 7 and sum(r["knee"] for r in rows) == 1
    first = rows[0]
    assert (first["mAP"], first["GFLOPs"], first["removed.camera.backbone"]) == (0.8, 9.0, 0.875)
    assert first["field.allocation.per_modality.camera"] == pytest.approx(0.1)
    described = found.schema.metadata
    assert json.loads(described[b"objectives"]) == {"mAP": "max", "NDS": "max", "GFLOPs": "min"}
    assert "2 x MACs" in json.loads(described[b"units"])["GFLOPs"]
