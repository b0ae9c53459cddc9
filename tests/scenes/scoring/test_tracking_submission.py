"""MlflowLogger results files: read back, refused with one line, scored from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.scoring.results_file import read_samples
from sparsefront.scenes.scoring.tracking_frames import score_tracks, tracking_truth
from sparsefront.scenes.scoring.tracking_submission import read_tracks
from sparsefront.search.cli.main import main


@pytest.fixture(scope="module")
def scenes(tiny_root: Path) -> NuScenesScenes:
    return NuScenesScenes(
        NuScenesSpec(root=str(tiny_root), version="v1.0-procedural", split="procedural_val")
    )


def written(scenes: NuScenesScenes, path: Path, change: Any = None) -> Path:
    """The ground truth as a submission, each box half a metre off."""
    results: dict[str, list[dict[str, Any]]] = {token: [] for token in scenes.tokens}
    wanted = tracking_truth(scenes).wanted
    boxes = wanted.boxes
    for row in range(len(wanted)):
        x, y, z = boxes.center[row].tolist()
        token = scenes.tokens[int(boxes.sample[row])]
        results[token].append(
            {
                "sample_token": token, "translation": [x + 0.5, y, z],
                "size": boxes.size[row].tolist(), "rotation": boxes.rotation[row].tolist(),
                "velocity": boxes.velocity[row].tolist(), "tracking_id": f"t{wanted.track[row]}",
                "tracking_name": DETECTION_CLASSES[int(boxes.label[row])],
                "tracking_score": 0.1 + 0.8 * row / len(wanted),
            }
        )  # fmt: skip
    if change is not None:
        change(results)
    path.write_text(json.dumps({"meta": {}, "results": results}))
    return path


def test_written_tracks_score_the_same_in_any_order(scenes: NuScenesScenes, tmp_path: Path) -> None:
    """Also with the samples in another order."""
    frames = tracking_truth(scenes).frames
    scores = []
    for change in (None, lambda r: r.update({t: r.pop(t) for t in list(r)[::-1]})):
        tracks = read_tracks(written(scenes, tmp_path / "a.json", change), scenes, frames)
        scores.append(score_tracks(scenes, tracks))
        assert len(tracks) == len(tracking_truth(scenes).wanted)
    assert scores[0] == scores[1] or scores[0].overall == pytest.approx(scores[1].overall)
    assert scores[0].overall["recall"] > 0.9
    assert scores[0].overall["motp"] == pytest.approx(0.5)


def test_wrong_files_are_named_in_one_line(scenes: NuScenesScenes, tmp_path: Path) -> None:
    """One line that names file, sample and box."""
    first, second = scenes.tokens[:2]
    nan = float("nan")

    def another_class(results: dict[str, list[dict[str, Any]]]) -> None:
        box = results[first][0]
        name = "bus" if box["tracking_name"] != "bus" else "car"
        results[second].insert(0, {**box, "tracking_name": name, "sample_token": second})
        results[second] = results[second][:1]

    changes = {
        "is missing": lambda r: r.pop(first),
        "is unknown": lambda r: r.update(more=[]),
        "501 boxes; allowed: 500": lambda r: r.update({first: r[first][:1] * 501}),
        "box 0: tracking_name: value 'barrier'": lambda r: r[first][0].update(
            tracking_name="barrier"
        ),
        "box 0: translation: value": lambda r: r[first][0].update(translation=[0, 0, nan]),
        "box 0: size: value": lambda r: r[first][0].update(size=[1, 2]),
        "box 0: size: value 3; allowed: 3 numbers": lambda r: r[first][0].update(size=3),
        "box 0: rotation: value None": lambda r: r[first][0].update(rotation=[1, 0, 0, None]),
        "box 0: tracking_score: value nan": lambda r: r[first][0].update(tracking_score=nan),
        "box 0: tracking_score: value -0.1": lambda r: r[first][0].update(tracking_score=-0.1),
        "box 0: sample_token: value 'x'": lambda r: r[first][0].update(sample_token="x"),
        "box 0: tracking_id: value 7": lambda r: r[first][0].update(tracking_id=7),
        "box 0: 'velocity' is missing": lambda r: r[first][0].pop("velocity"),
        "allowed: a list of boxes": lambda r: r.update({first: {}}),
        "box 1: tracking_id: value 't.*is there twice": lambda r: r.update(
            {first: r[first][:1] * 2}
        ),
        "allowed: one class a track": another_class,
    }
    for said, change in changes.items():
        path = written(scenes, tmp_path / "wrong.json", change)
        with pytest.raises(InputError, match=said) as caught:
            read_tracks(path, scenes, tracking_truth(scenes).frames)
        assert "wrong.json" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"results": {"a": [], "b": [', "no JSON object"),
        ('{"results": {"a": [] "b": []}}', "no JSON object"),
        ('{"results": {"a": [], "b": [],}}', "no JSON object"),
        ('{"results": {"a": [], "b": []}} x', "Extra data"),
        ('{"results": {"a": [], "b": []}', "Expecting"),
        ('{"results": {"a": [}, "b": []}}', "sample a: Expecting"),
        ('{"results": {"a": [], "a": [], "b": []}}', "sample a is there twice"),
        ('{"results": []}', "no results"),
        ("[]", "no results"),
        ("{", "Expecting"),
        ("", "empty"),
    ],
)
def test_broken_json_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        list(read_samples(path, ["a", "b"]))
    assert "broken.json" in str(caught.value)


def test_every_json_form_of_the_format_is_read(tmp_path: Path) -> None:
    """Spaces, brackets and quotes in texts, results that are not the results, NaN."""
    path = tmp_path / "odd.json"
    path.write_text(
        '\n {"meta": {"results": {"a": 1}}, "results" :\n { "a" : [{"x":"]}\\"{", "y": [[NaN]]}],'
        ' "\\u0062":[ ] } , "more": 3 }\n'
    )
    boxes = dict(read_samples(path, ["a", "b"]))
    assert boxes[0][0]["x"] == ']}"{'
    assert boxes[0][0]["y"][0][0] != boxes[0][0]["y"][0][0]
    assert boxes[1] == []


def test_command_line_gives_the_devkits_numbers(
    scenes: NuScenesScenes, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours and the devkit's answer are one; the table has a line a class."""
    path = written(scenes, tmp_path / "tracks.json")
    arguments = [
        "scenes", "score", "tracking", "--data", str(tiny_root), "--version", "v1.0-procedural",
        "--split", "procedural_val", "--results", str(path),
    ]  # fmt: skip
    answers = []
    for scorer in ("ours", "devkit"):
        assert main([*arguments, "--scorer", scorer, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert list(answers[0]) == list(answers[1])
    for name, value in answers[1].items():
        if name != "label_metrics":
            assert answers[0][name] == pytest.approx(value, abs=1e-9, nan_ok=True)
    for metric, values in answers[1]["label_metrics"].items():
        found = answers[0]["label_metrics"][metric]
        assert found == pytest.approx(values, abs=1e-9, nan_ok=True)
    assert main(arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].split()[:3] == ["AMOTA", "AMOTP", "RECALL"]
    assert said[2].startswith("bicycle")
    assert f"AMOTA   {answers[0]['amota']:.3f}" in said
