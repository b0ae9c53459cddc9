"""`scenes score kitti` and `scenes make --format kitti` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsefront.search.cli.main import main

CAR = "Car 0 0 0.1 {left} 100 {right} 160 1.5 1.6 4.0 {x} 1.7 20.0 0.0"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two frames of ten cars each, all found; a third without a detection file."""
    labels, found = tmp_path / "gt", tmp_path / "det"
    labels.mkdir()
    found.mkdir()
    lines = [CAR.format(left=100 * n, right=100 * n + 80, x=10 * n) for n in range(10)]
    for frame in range(3):
        (labels / f"{frame:06d}.txt").write_text("\n".join(lines))
        if frame < 2:
            scored = [f"{line} 0.{n}" for n, line in enumerate(lines)]
            (found / f"{frame:06d}.txt").write_text("\n".join(scored))
    return labels, found


def command(folders: tuple[Path, Path], *more: str) -> list[str]:
    labels, found = folders
    return ["scenes", "score", "kitti", "--gt", str(labels), "--det", str(found), *more]


def test_kitti_scores_by_hand(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """20 cars, 20 points: 19 / 40 without recall 0, and of every fourth 5 of 11."""
    assert main(command(folders, "--json")) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert list(answer) == ["3d", "bev", "bbox", "aos"]
    for kinds in answer.values():
        assert list(kinds) == ["car", "pedestrian", "cyclist"]
        assert kinds["car"]["R40"] == pytest.approx([47.5] * 3)
        assert kinds["car"]["R11"] == pytest.approx([500 / 11] * 3)
        assert kinds["cyclist"] == {"R40": [0, 0, 0], "R11": [0, 0, 0]}
    assert "2 frames scored; 1 labelled ones have no detection file" in said.err
    assert "20 labels of car: below 100 AP says little" in said.err
    assert main(command(folders)) == 0
    assert "47.50" in capsys.readouterr().out


def test_orientation_is_not_scored_without_an_angle(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = folders[1] / "000000.txt"
    path.write_text(path.read_text().replace(" 0.1 ", " -10 ", 1))
    assert main(command(folders, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["aos"] == {}
    assert main(command(folders)) == 0
    assert "aos   not evaluated: a detection has no angle" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("det/000001.txt", "Car 0 0 0 0 0 9 9 1 1 1 0 1 9 0", "line 1: 15 columns; allowed: 16"),
        ("det/000001.txt", "Car 0 0 0 0 0 9 9 1 1 1 0 1 9 0 a", "line 1: score 'a'; allowed: a nu"),
        ("det/000001.txt", "Car 0 0 0 0 0 9 9 1 1 1 0 1 nan 0 1", "line 1: z 'nan'; allowed: a f"),
        ("gt/000001.txt", "Car 0 0 0 0 0 9 9 1 1 1 0 1 9", "line 1: 14 columns; allowed: 15"),
        ("det/000009.txt", "", "000009.txt has no label"),
    ],
)
def test_wrong_file_is_named_with_its_line(
    folders: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    file: str,
    content: str,
    message: str,
) -> None:
    (folders[0].parent / file).write_text(content)
    assert main(command(folders)) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 or "frames scored" in said[0]
    assert Path(file).name in said[-1]
    assert message in said[-1]


def test_wrong_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gt").mkdir()
    assert main(command((tmp_path / "gt", tmp_path / "det"))) == 2
    assert "det is not a folder; allowed: one file a frame" in capsys.readouterr().err
    assert main(command((tmp_path / "gt", tmp_path / "gt"))) == 2
    assert "has no *.txt; allowed: one file a frame" in capsys.readouterr().err


def test_make_writes_kitti_frames_and_refuses_wrong_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "k"
    make = ["scenes", "make", str(root), "--format", "kitti"]
    assert main([*make, "--scenes", "2"]) == 2
    assert "--scenes: KITTI has single frames; allowed: --frames" in capsys.readouterr().err
    assert main([*make, "--frames", "0"]) == 2
    assert "--frames: value 0; allowed: 1 and above" in capsys.readouterr().err
    assert not root.exists()
    assert main([*make, "--frames", "1", "--workers", "1"]) == 0
    assert capsys.readouterr().out.strip() == str(root)
    assert len(list((root / "training" / "label_2").glob("*.txt"))) == 1
