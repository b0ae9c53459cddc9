"""allocation.json: how sparse each modality and layer is, and how that was found."""

from __future__ import annotations

from typing import Any

from search.run_store import StoredTrial

SCHEMA_VERSION = 1


def allocation_document(trial: StoredTrial, sweep_name: str) -> dict[str, Any]:
    """The allocation of a trial as plain data: fractions REMOVED, asked for and achieved."""
    asked = trial.spec.allocation
    return {
        "schema_version": SCHEMA_VERSION,
        "per_modality": trial.result.per_modality_sparsity,
        "per_layer": trial.result.per_layer_sparsity,
        "asked": {
            "overall": asked.overall,
            "per_modality": dict(asked.per_modality),
            "per_stage": dict(asked.per_stage),
            "per_layer": dict(asked.per_layer),
            "rule": asked.rule,
            "pattern": asked.pattern,
            "min_keep": asked.min_keep,
        },
        "model": trial.spec.to_dict()["model"],
        "found_by": {
            "sweep": sweep_name,
            "trial": trial.trial_id,
            "criterion": trial.spec.to_dict()["criterion"],
            "metrics": trial.result.metrics,
        },
    }
