"""The actor that takes trials from rung to rung, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.worker import TrialActor
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_end
from sparsefront.search.trial.shared import Shared


def test_crossprune_trial_under_way_goes_on(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """What the front has found since does not undo a trial that has a rung behind it."""
    sweep_data["trial"]["cross_prune"] = {"num_rounds": 1}
    sweep = read_sweep(write_yaml(sweep_data))
    actor = object.__new__(TrialActor)  # Ray makes them with a logger and a thread
    actor.run_folder = RunFolder(runs=tmp_path, name="one")
    actor.base, actor.shared, actor.sweep = Shared(), Shared(), sweep
    actor.reset_config({"trial_id": 0, "values": {}, "beaten_by": [{"GFLOPs": 1e-9}]})
    folder = actor.run_folder.trial_dir(0)
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").touch()
    assert not actor._skipped(sweep.trial)
    (folder / "checkpoint.json").unlink()
    assert actor._skipped(sweep.trial)
    end = read_end(actor.run_folder, 0)
    assert end is not None and end.status == "stopped"
    assert end.reason.startswith("dominated before any training")


@pytest.mark.parametrize("lost", [False, True])
def test_process_that_lost_its_gpu_ends(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    lost: bool,
) -> None:  # fmt: skip
    """After a trial's error every later call to the GPU fails: the trial's reason is kept, and no
    other trial comes to this process. CUDA's part is played.
    """
    sweep = read_sweep(write_yaml(sweep_data))
    actor = object.__new__(TrialActor)
    actor.run_folder = RunFolder(runs=tmp_path, name="one")
    actor.shared, actor.sweep = Shared(), sweep
    actor.reset_config({"trial_id": 0, "values": {"no.such": 1}, "beaten_by": []})

    def synchronize() -> None:
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.synchronize", synchronize)
    if lost:
        with pytest.raises(InputError, match=r"no\.such"):
            actor._advance()
    else:
        assert actor._advance() == {"done": True}
    end = read_end(actor.run_folder, 0)
    assert end is not None and end.status == "failed" and "no.such" in end.reason
