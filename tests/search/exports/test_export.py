"""Exported folders: what is in them, that they are whole, and what is refused in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.files.atomic import read_json
from sparsefront.files.tensors import read_tensors
from sparsefront.files.whole_folder import clear_abandoned
from sparsefront.models.checkpoint import store
from sparsefront.pruning.weights import prunable_weights
from sparsefront.search.cli.main import main
from sparsefront.search.cli.measure import load_model
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.trial_result import result_from_dict
from sparsefront.search.driver.sweep import Launch
from sparsefront.search.evaluation.synthetic_frame import synthetic_frame
from sparsefront.search.exports.export import export, load_export
from sparsefront.search.exports.nm_groups import verified
from sparsefront.search.exports.pruned import deployed, read_pruned
from sparsefront.search.runs.allocation_file import AllocationFile, read_allocation
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_trial
from sparsefront.search.trial.provenance import git_state
from tests.helpers import paths

SCHEMA = paths.CHECKOUT / "docs" / "allocation.schema.json"


@pytest.fixture
def folder(exported_run: RunFolder, tmp_path: Path) -> Path:
    return export("one", exported_run.runs, "knee", tmp_path / "out")


def test_allocation_says_what_was_found_and_how(folder: Path, exported_run: RunFolder) -> None:
    found = read_allocation(folder / "allocation.json")
    trial = read_trial(exported_run, 0)
    sizes = {name: kept.numel() for name, kept in trial.mask().items()}
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
    """docs/allocation.schema.json, made by `python -m search.exports.allocation_file`."""
    assert json.loads(SCHEMA.read_text()) == strict_yaml.adapter(AllocationFile).json_schema()


def test_manifest_has_sizes_and_every_file(folder: Path) -> None:
    manifest = read_json(folder / "manifest.json")
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(manifest["sha256"]) == files - {"manifest.json"}
    assert manifest["size"]["GMACs"]["after"] < manifest["size"]["GMACs"]["before"]
    weights = folder / "weights.safetensors"
    assert manifest["bytes"][weights.name] == weights.stat().st_size
    model, image = load_model("bevfusion-small", weights)
    assert (image.height, image.width) == (32, 64)
    assert set(prunable_weights(model)) == set(read_tensors(folder / "masks.safetensors"))


@pytest.mark.parametrize("name", ["masks.safetensors", "allocation.json", "front.png"])
def test_a_changed_file_is_refused_by_name(folder: Path, capsys: Any, name: str) -> None:
    with open(folder / name, "ab") as file:
        file.write(b" ")
    assert main(["evaluate", str(folder)]) == 2
    said = capsys.readouterr().err
    assert f"{folder / name}: missing or changed" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("pick", "said"),
    [
        ("trial:7", "sweep 'one' has no such trial; finished trials: 0"),
        ("trial:1", "the trial failed: ValueError: nothing left; finished trials: 0"),
        ("trial:2", "the trial was stopped before full fidelity: dominated; finished trials: 0"),
        ("max:mAP,GFLOPs<=0", "no point of the front fits; on the front GFLOPs is 0.0612"),
        ("max:mAP,speed<=0", "no metric 'speed'; allowed: mAP"),
    ],
)
def test_picks_that_fit_nothing(
    exported_run: RunFolder, tmp_path: Path, capsys: Any, pick: str, said: str
) -> None:
    words = ["--runs", str(exported_run.runs), "--out", str(tmp_path / "out")]
    assert main(["export", "one", "--pick", pick, *words]) == 2
    error = capsys.readouterr().err
    assert f"--pick: value {pick!r}: {said}" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "said"),
    [("original", "model 'bevfusion-small' is of no other code base; allowed for mit_*")],
)
def test_formats_that_the_model_cannot_have(
    exported_run: RunFolder, tmp_path: Path, capsys: Any, format: str, said: str
) -> None:
    words = ["--runs", str(exported_run.runs), "--out", str(tmp_path / "out"), "--format", format]
    assert main(["export", "one", "--pick", "knee", *words]) == 2
    assert f"--format: value {format!r}: {said}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(
    exported_run: RunFolder, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    words = ["--runs", str(exported_run.runs), "--out", str(out)]
    assert main(["export", "one", "--pick", "knee", *words]) == 2
    error = capsys.readouterr().err
    assert f"--out: value {str(out)!r}: " in error and "can be written" in error


def test_killed_exports_leave_nothing(exported_run: RunFolder, tmp_path: Path) -> None:
    """Killed while it writes: no folder; the next export clears what was left, not what others
    are at work on.
    """
    out, other = tmp_path / "out", tmp_path / "other"
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from search.exports.whole_folder import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as made:\n"
        "    (made / 'weights').write_text('half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", program, str(place)], stdout=subprocess.PIPE)
        for place in (out, out, other)
    ]
    for maker in makers:
        assert maker.stdout is not None and maker.stdout.readline() == b"writing\n"
    makers[0].send_signal(signal.SIGKILL)
    makers[2].send_signal(signal.SIGKILL)
    makers[0].wait()
    makers[2].wait()
    assert not out.exists()
    assert len(list(tmp_path.glob(".out.*"))) == 2
    export("one", exported_run.runs, "knee", out)
    load_export(out)
    assert len(list(tmp_path.glob(".out.*"))) == 1  # the other maker's, who lives
    assert len(list(tmp_path.glob(".other.*"))) == 1
    makers[1].kill()
    makers[1].wait()
    clear_abandoned(out)
    clear_abandoned(other)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_apply_removes_as_many_of_other_weights(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    """Counts match layer by layer; what stays is the checkpoint's own largest."""
    state, metadata = store.load(tiny_checkpoint)
    torch.manual_seed(1)
    other = {
        k: v + 0.1 * torch.randn_like(v) if v.is_floating_point() else v for k, v in state.items()
    }
    store.save(tmp_path / "other.safetensors", other, metadata)
    words = [
        "--checkpoint",
        str(tmp_path / "other.safetensors"),
        "--out",
        str(tmp_path / "applied"),
    ]
    assert main(["apply", str(folder / "allocation.json"), *words]) == 0
    assert "removed by magnitude" in capsys.readouterr().out
    pruned, trial = read_pruned(tmp_path / "applied"), load_export(folder)
    for name, kept in pruned.mask.items():
        assert int(kept.sum()) == int(trial.mask[name].sum()), name
        assert torch.equal(pruned.state[name], other[name] * kept)
        if not kept.all():
            assert other[name][kept].abs().min() >= other[name][~kept].abs().max()
    again = read_allocation(tmp_path / "applied" / "allocation.json")
    assert again.per_layer == read_allocation(folder / "allocation.json").per_layer
    assert main(["evaluate", str(tmp_path / "applied")]) == 2
    assert "no trial measured it; allowed: `sparsefront evaluate --model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ({"schema_version": 1}, [], "field schema_version: value 1; allowed: 2"),
        ({"per_modality": {"camera": 2}}, [], "per_modality.camera"),
        ({"colour": 1}, [], "colour"),
        ({}, ["--criterion", "snip"], "--data: criterion 'snip' scores on frames; allowed: --data"),
        ({}, ["--criterion", "snap"], "--criterion"),
        (
            {"per_layer": {"camera.x.weight": {"weights": 4, "removed": 0.5}}}, [],
            "field per_layer.camera.x.weight: 4 weights, model 'bevfusion-small' of the checkpoint "
            "has no such layer (and 41 more); allowed: an allocation of the checkpoint's",
        ),
    ],
)  # fmt: skip
def test_allocations_that_do_not_go(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: Any, change: dict[str, Any],
    words: list[str], said: str,
) -> None:  # fmt: skip
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(read_json(folder / "allocation.json") | change))
    place = ["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "applied")]
    assert main(["apply", str(file), *place, *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "applied").exists()


def test_apply_with_a_criterion_that_reads_data(
    folder: Path, tiny_checkpoint: Path, tiny_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "snip.safetensors"
    words = ["--checkpoint", str(tiny_checkpoint), "--out", str(out), "--criterion", "snip"]
    assert main(["apply", str(folder / "allocation.json"), *words, "--data", str(tiny_root)]) == 0
    mask = load_export(folder).mask
    for name, kept in mask.items():
        assert int((store.load(out)[0][name] != 0).sum()) == int(kept.sum()), name


def test_training_on_holds_the_zeros(
    folder: Path, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    trial, out = sweep_data["trial"], tmp_path / "on.safetensors"
    data = {"model": trial["model"], "data": trial["train"], "image": trial["image"]}
    data |= {"steps": 2, "batch_size": 2, "threads": 1, "average": 0.5, "save_every": 1}
    assert main(["train", str(write_yaml(data)), "--from", str(folder), "--out", str(out)]) == 0
    before, after = load_export(folder), store.load(out)[0]
    for name, kept in before.mask.items():
        assert not after[name][~kept].any(), name
    assert any(not torch.equal(after[name], t) for name, t in before.state.items())
    data["model"] = {**trial["model"], "head_channels": 16}
    assert main(["train", str(write_yaml(data)), "--from", str(folder), "--out", str(out)]) == 2
    assert "model: differs from the one of --from in head_channels" in capsys.readouterr().err


def test_channels_applied_and_trained_on(
    folder: Path, sweep_data: dict[str, Any], write_yaml: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Whole channels by the fractions asked; trained on, the smaller model still says the same."""
    data = read_json(folder / "allocation.json")
    data["asked"]["pattern"] = "channel"
    file = tmp_path / "channels.json"
    file.write_text(json.dumps(data))
    words = ["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "applied")]
    assert main(["apply", str(file), *words]) == 0
    pruned = read_pruned(tmp_path / "applied")
    assert pruned.channels

    trial, out = sweep_data["trial"], tmp_path / "on.safetensors"
    run = {"model": trial["model"], "data": trial["train"], "image": trial["image"]}
    run |= {"steps": 2, "batch_size": 2, "threads": 1, "lr": 0.01}
    words = ["--from", str(tmp_path / "applied"), "--out", str(out)]
    assert main(["train", str(write_yaml(run)), *words]) == 0
    after = replace(pruned, state=store.load(out)[0])
    assert any(not torch.equal(after.state[n], t) for n, t in pruned.state.items())
    full, _ = load_model("bevfusion-small", out)
    batch = synthetic_frame(pruned.image)
    with torch.no_grad():
        small = deployed(after, out)(batch)
        for name, value in full(batch).items():
            assert torch.allclose(small[name], value, rtol=0, atol=1e-4), name


def test_two_of_four_is_counted(tiny_checkpoint: Path) -> None:
    model, _ = load_model("bevfusion-small", None)
    name = "camera.neck.smooth.0.weight"
    weight = dict(model.named_parameters())[name].detach().clone()
    weight.view(weight.shape[0], -1, 4, *weight.shape[2:])[:, :, :2] = 0
    found = verified(model, {name: weight}, {name: 0.5, "other": 0.0}, "2:4")
    assert found["groups"] == {name: weight.numel() // 4}
    weight[0, 0] = 1
    with pytest.raises(AssertionError, match="3 of 4"):
        verified(model, {name: weight}, {name: 0.5}, "2:4")


def test_commit_of_a_folder(tmp_path: Path) -> None:
    """Tracked files that differ make it dirty; a folder outside of git has no commit."""
    assert git_state(tmp_path) is None
    place = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b"}
    place |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, env=place, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "first")
    state = git_state(tmp_path)
    assert state is not None and len(state["commit"]) == 40 and state["dirty"] is False
    (tmp_path / "other").write_text("untracked")
    assert git_state(tmp_path) == state
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == {**state, "dirty": True}


def test_older_records_are_read(exported_run: RunFolder) -> None:
    """A launch without its commit, a result without its environment."""
    assert Launch(run_id="x", address=None, tracking_uri="sqlite:///x").code is None
    data = read_json(exported_run.trial_dir(0) / "result.json")
    assert data.pop("environment")["python"]
    assert result_from_dict(data).environment == {}


@pytest.mark.long
def test_registered_and_fetched_by_alias(
    exported_run: RunFolder, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are the trial's; what is not there is said with what is."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    runs = ["--runs", str(exported_run.runs)]
    words = ["--pick", "knee", "--out", str(tmp_path / "out"), "--register", "fused"]
    assert main(["export", "one", *words, *runs, "--alias", "latest"]) == 2
    assert "--alias: value 'latest'" in capsys.readouterr().err
    assert main(["export", "one", *words, *runs, "--alias", "car"]) == 0
    assert "registered as version 1 of fused" in capsys.readouterr().out
    assert main(["evaluate", "models:/fused@car", *runs, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics == read_trial(exported_run, 0).result.metrics
    assert main(["evaluate", "models:/fused@van", *runs]) == 2
    assert "no such version; aliases of 'fused': car (version 1)" in capsys.readouterr().err
    assert main(["evaluate", "models:/other@car", *runs]) == 2
    assert "no registered model 'other'; registered: fused" in capsys.readouterr().err
