"""The description of a sweep in MLflow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.reports.parent_run import LONGEST_NOTE, note
from tests.helpers.synthetic_sweep import front_of_sweep, synthetic_result


def test_note_fits_into_a_tag_however_long_the_front(view_of: Any, sweep: Sweep) -> None:
    view = view_of([(0.9 - 0.002 * n, 9.0 - 0.02 * n, 0.5) for n in range(400)])
    assert len(view.front.points) == 400
    text = note(view.front, "1", "abc", finished=True)
    assert len(text) < LONGEST_NOTE < 8000
    assert "400 of 400 trials on the Pareto front" in text and "of 400 points; all:" in text
    assert "runs/abc/artifacts/front/report.html" in text
    empty = note(front_of_sweep(sweep, "empty", []), "1", "abc", finished=False)
    assert "report.html" not in empty and "0 of 0" in empty


def test_note_names_what_the_dense_model_measured(view_of: Any) -> None:
    front = view_of([(0.7, 5.0, 0.5)]).front
    assert "Dense model" not in note(front, "1", "abc", finished=True)
    with_dense = replace(front, dense=synthetic_result(0.9, 10.0, 0.8))
    text = note(with_dense, "1", "abc", finished=True)
    assert "Dense model: mAP 0.9000, NDS 0.8000, GFLOPs 10.0000." in text
    assert "dense    0.9000" in text
