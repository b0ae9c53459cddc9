"""Exit statuses: 2 in one line for wrong input, with nothing written; 1 with a traceback for a
fault of the program. --json: one document.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from sparsefront.errors import ExecutionError, InputError
from sparsefront.search.cli import main as cli_main
from sparsefront.search.cli.main import main


@pytest.fixture
def wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Runs a command that must be refused; returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert main(list(argv)) == 2
        streams = capsys.readouterr()
        assert streams.out == ""
        assert streams.err.startswith("sparsefront: ")
        assert streams.err.count("\n") == 1, streams.err
        assert sorted(tmp_path.rglob("*")) == before
        return streams.err

    return run


@pytest.mark.parametrize("verb", ["check", "sweep", "trial"])
def test_misspelt_key_two_levels_deep_is_named(
    wrong: Any, sweep_data: dict[str, Any], write_yaml: Any, verb: str
) -> None:
    sweep_data["trial"]["fine_tune"]["stepz"] = 3
    line = wrong(verb, str(write_yaml(sweep_data)))
    assert "trial.fine_tune.stepz" in line and "did you mean steps" in line


def test_sparsity_above_one_is_refused(
    wrong: Any, sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["trial"]["allocation"]["per_modality"]["camera"] = 1.2
    line = wrong("sweep", str(write_yaml(sweep_data)))
    assert "per_modality.camera" in line and "1.2" in line


def test_unknown_criterion_is_refused(
    wrong: Any, sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["trial"]["criterion"] = {"name": "wanda"}
    line = wrong("sweep", str(write_yaml(sweep_data)))
    assert "trial.criterion.name" in line and "wanda" in line and "altermoma" in line


def test_missing_data_root_is_refused(
    wrong: Any, sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["trial"]["val"]["root"] = "/no/such/root"
    line = wrong("sweep", str(write_yaml(sweep_data)))
    assert "trial.val" in line and "/no/such/root" in line


def test_unknown_split_is_refused(wrong: Any, sweep_data: dict[str, Any], write_yaml: Any) -> None:
    sweep_data["trial"]["val"]["split"] = "nights"
    line = wrong("sweep", str(write_yaml(sweep_data)))
    assert "trial.val" in line and "nights" in line


def test_checkpoint_of_another_model_is_refused(
    wrong: Any, sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["trial"]["model"]["neck_channels"] = 16
    line = wrong("sweep", str(write_yaml(sweep_data)))
    assert "trial.checkpoint" in line and "another model" in line


@pytest.mark.parametrize("content", [b"", b"not tensors at all", b"\xff" * 100])
def test_corrupt_checkpoint_is_refused(
    wrong: Any, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, content: bytes
) -> None:
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(content)
    sweep_data["trial"]["checkpoint"] = str(corrupt)
    assert "corrupt.safetensors" in wrong("sweep", str(write_yaml(sweep_data)))
    assert "corrupt.safetensors" in wrong(
        "cost", "--model", "bevfusion-small", "--checkpoint", str(corrupt)
    )


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "127.0.0.1:1"])
def test_wrong_address_is_refused(
    wrong: Any, sweep_data: dict[str, Any], write_yaml: Any, address: str
) -> None:
    assert address in wrong("sweep", str(write_yaml(sweep_data)), "--address", address)


def test_missing_checkpoint_is_refused(
    wrong: Any, sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["trial"]["checkpoint"] = "/no/such.safetensors"
    assert "/no/such.safetensors" in wrong("sweep", str(write_yaml(sweep_data)))


@pytest.mark.parametrize(
    "argv",
    [
        ["resume", "nope"],
        ["front", "nope", "--json"],
        ["export", "nope", "--pick", "knee", "--out", "x"],
    ],
)
def test_unknown_sweep_name_is_refused(wrong: Any, argv: list[str]) -> None:
    assert "nope" in wrong(*argv)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["sweeep"], "sweeep"),
        (["front", "a", "--jsn"], "--jsn"),
        (["sweep", "no-such-file.yaml"], "no-such-file.yaml"),
        (["sweep", "a.yaml", "--trials", "many"], "many"),
        (["cost", "--model", "bevfusion-smal"], "did you mean bevfusion-small"),
        (["model", "keys", "resnet"], "resnet"),
        (["evaluate"], "--checkpoint"),
        (["evaluate", "folder", "--split", "mini_val"], "--split"),
        (["evaluate", "no-such-folder"], "no-such-folder"),
        (["train", "no-such-file.yaml"], "no-such-file.yaml"),
        (["scenes", "make", "x", "--scenes", "0"], "--scenes"),
        (["scenes", "info", "/no/such/root"], "/no/such/root"),
    ],
)
def test_wrong_command_line_is_refused(wrong: Any, argv: list[str], named: str) -> None:
    assert named in wrong(*argv)


def test_model_keys_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "keys", "bevfusion-small", "--json"]) == 0
    keys = json.loads(capsys.readouterr().out)
    assert {entry["kind"] for entry in keys.values()} == {"param", "buffer"}


def test_cost_without_data_is_of_a_synthetic_frame(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--model", "bevfusion-small", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["frames"] == ["synthetic frame"]
    assert answer["GFLOPs"] == 2 * answer["GMACs"] > 0
    assert {"camera", "lidar", "fusion"} <= set(answer["per_modality"])


def test_check_prints_the_first_trial(
    sweep_data: dict[str, Any], write_yaml: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write_yaml(sweep_data)), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["first_trial"]["allocation"]["per_modality"]["camera"] == 0.0


def test_check_prints_the_space(
    sweep_data: dict[str, Any], write_yaml: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every field that a `*` became, its range, and how many weights it is about."""
    sweep_data["space"] = {
        "allocation.per_stage.fusion.*": {"low": 0.0, "high": 0.9},
        "allocation.per_stage.fusion.head": {"low": 0.0, "high": 0.5},
        "fine_tune.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "criterion": {"choices": [{"name": "magnitude"}, {"name": "fisher"}]},
    }
    assert main(["check", str(write_yaml(sweep_data))]) == 0
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("  allocation.per_stage.fusion")]
    head = [line for line in lines if ".head: " in line]
    assert len(lines) > 1 and len(head) == 1 and "0 to 0.5, " in head[0]
    assert all(line.endswith(" weight tensors") for line in lines)
    assert "  fine_tune.lr: 0.0001 to 0.01, log\n" in said
    assert "  criterion: one of {'name': 'magnitude'}, {'name': 'fisher'}\n" in said
    assert main(["check", str(write_yaml(sweep_data)), "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)["fields"]
    assert fields["allocation.per_stage.fusion.head"]["high"] == 0.5
    assert fields["allocation.per_stage.fusion.head"]["weights"] > 0
    assert fields["fine_tune.lr"]["weights"] is None


class Fails:
    """A verb that raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self) -> str:
        raise self._error


def test_value_error_of_the_program_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_main, "_parse", lambda argv: Fails(ValueError("shapes differ")))
    assert main(["check", "sweep.yaml"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Traceback (most recent call last):") and "in run\n" in said.err
    assert said.err.splitlines()[-1] == "sparsefront: ValueError: shapes differ"


def test_input_error_exits_2_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where its message has several."""
    error = InputError("file: field x:\n  value 1; allowed: 2")
    monkeypatch.setattr(cli_main, "_parse", lambda argv: Fails(error))
    monkeypatch.delenv("SPARSEFRONT_TRACEBACK", raising=False)
    assert main(["check", "sweep.yaml"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "sparsefront: file: field x: value 1; allowed: 2\n")


def test_failure_of_the_work_exits_1_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ExecutionError("every trial failed")
    monkeypatch.setattr(cli_main, "_parse", lambda argv: Fails(error))
    assert main(["check", "sweep.yaml"]) == 1
    assert capsys.readouterr().err == "sparsefront: every trial failed\n"


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sparsefront {metadata.version('sparsefront')}\n"


@pytest.mark.parametrize("form", [["--out", "{runs}"], ["--out={runs}"]])
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["sweep", "{file}", "--name", "known"], "--name: value 'known' exists in {runs}"),
        (["resume", "nope"], "'nope' not found in {runs}; known: known"),
        (["front", "nope"], "'nope' not found in {runs}; known: known"),
        (["ui", "nope"], "'nope' not found in {runs}; known: known"),
    ],
)
def test_out_still_names_the_folder_of_runs(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any,
    form: list[str], argv: list[str], said: str,
) -> None:  # fmt: skip
    """As in version 0.1, in the verbs where it did."""
    words = {"runs": str(tmp_path / "runs"), "file": str(write_yaml(sweep_data))}
    (tmp_path / "runs" / "known").mkdir(parents=True)
    (tmp_path / "runs" / "known" / "sweep.yaml").touch()
    assert main([word.format(**words) for word in [*argv, *form]]) == 2
    assert said.format(**words) in capsys.readouterr().err
