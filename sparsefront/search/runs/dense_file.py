"""What the dense model of a sweep measured, as its folder has it."""

from __future__ import annotations

from sparsefront.files.atomic import read_json, write_json
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.runs.run_folder import RunFolder


def read_dense(run: RunFolder) -> TrialResult | None:
    """Its metrics; None where it has not been measured (yet)."""
    if not run.dense_file.is_file():
        return None
    return TrialResult(
        metrics=read_json(run.dense_file)["metrics"], per_modality_sparsity={},
        per_modality_GMACs={}, per_class={}, tp_errors={}, per_layer_sparsity={}, cost={},
        timings={},
    )  # fmt: skip


def write_dense(run: RunFolder, metrics: dict[str, float]) -> None:
    write_json(run.dense_file, {"metrics": metrics})
    run.push(run.dense_file)
