"""allocation.json says what was found and how."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from sparsefront.files.atomic import write_json
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.runs.allocation_file import (
    FILE,
    AllocationFile,
    allocation_document,
    read_allocation,
)
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_trial
from tests.helpers import paths

SCHEMA = paths.CHECKOUT / "docs" / "allocation.schema.json"


def test_allocation_says_what_was_found_and_how(exported_run: RunFolder, tmp_path: Path) -> None:
    trial, sweep = read_trial(exported_run, 0), read_sweep(exported_run.sweep_file)
    write_json(tmp_path / FILE, allocation_document(trial, sweep, exported_run))
    found = read_allocation(tmp_path / FILE)
    sizes = {name: kept.numel() for name, kept in trial.weights().mask.items()}
    assert {name: share.weights for name, share in found.per_layer.items()} == sizes
    assert {n: s.removed for n, s in found.per_layer.items()} == trial.result.per_layer_sparsity
    by = found.found_by
    assert by is not None
    assert (by.sweep, by.trial, by.seeds) == ("one", 0, {"sweep": 0, "trial": 0})
    assert by.code == {"commit": "0" * 40, "dirty": True}
    assert by.searched["allocation.per_modality.camera"] == 0.5
    assert by.versions["torch"] == torch.__version__
    assert by.versions["device"].startswith("cpu ")
    assert set(by.versions) == {"python", "sparsefront", "torch", "spconv", "numpy", "device"}
    assert len(by.checkpoint["sha256"] or "") == 64


def test_schema_is_the_one_that_is_read() -> None:
    """docs/allocation.schema.json, made by `python -m sparsefront.search.runs.allocation_file`."""
    assert json.loads(SCHEMA.read_text()) == strict_yaml.adapter(AllocationFile).json_schema()


def test_file_of_version_0_1_is_read(exported_run: RunFolder, tmp_path: Path) -> None:
    """Its schema_version was 2, and what was requested was called `asked`."""
    trial, sweep = read_trial(exported_run, 0), read_sweep(exported_run.sweep_file)
    document = allocation_document(trial, sweep, exported_run)
    older = {**document, "schema_version": 2, "asked": document["requested"]}
    del older["requested"]
    write_json(tmp_path / "new.json", document)
    write_json(tmp_path / "old.json", older)
    assert read_allocation(tmp_path / "old.json") == read_allocation(tmp_path / "new.json")
