"""Map scores against the definition, cell by cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsefront.errors import InputError
from sparsefront.scenes.scoring.map_segmentation import THRESHOLDS, MapScoreCounter, score
from sparsefront.search.cli.score_files import score_map_file


def by_definition(p: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[K, 7]: at or above the threshold, summed over samples and cells."""
    found = p[:, :, None] >= THRESHOLDS[None, None, :, None, None]
    truth = wanted[:, :, None]
    right = (found & truth).sum((0, 3, 4))
    either = (found | truth).sum((0, 3, 4))
    return right / (either + 1e-7)


def test_iou_equals_the_definition_in_any_batches() -> None:
    random = np.random.default_rng(0)
    p = random.random((5, 6, 8, 8)).astype(np.float32)
    p[0, 0, 0, :7] = THRESHOLDS  # exactly at a threshold counts
    wanted = random.random((5, 6, 8, 8)) < 0.3
    wanted[:, 4] = False  # a class that is nowhere
    one_by_one, at_once = MapScoreCounter(), MapScoreCounter()
    for a, b in zip(p, wanted, strict=True):
        one_by_one.add(a, b)
    at_once.add(p, wanted)
    found = at_once.result()
    assert np.array_equal(one_by_one.result().iou, found.iou)
    assert np.allclose(found.iou, by_definition(p, wanted), rtol=0, atol=1e-12)
    assert found.per_class["carpark_area"] == 0.0
    assert found.mIoU == pytest.approx(by_definition(p, wanted).max(1).mean())


def test_iou_by_hand() -> None:
    """Two of three cells right at 0.5, one wrong: 2 / 4; at 0.65 one of them only: 1 / 3."""
    counts = MapScoreCounter(classes=1)
    p = np.array([[[0.9, 0.6], [0.55, 0.1]]], dtype=np.float32)
    counts.add(p, np.array([[[True, True], [False, True]]]))
    iou = counts.result().iou[0]
    assert iou[3] == pytest.approx(2 / 4)
    assert iou[6] == pytest.approx(1 / 3)


def test_wrong_arrays_are_named() -> None:
    counts = MapScoreCounter()
    with pytest.raises(InputError, match="one shape"):
        counts.add(np.zeros((6, 2, 2), np.float32), np.zeros((6, 2, 3), bool))
    for bad in (np.nan, 1.5, -0.5, np.inf):
        with pytest.raises(InputError, match=f"a probability is {bad}; allowed: 0..1"):
            counts.add(np.full((6, 2, 2), bad, np.float32), np.zeros((6, 2, 2), bool))
    with pytest.raises(InputError, match="a label is 2; allowed: 0, 1"):
        counts.add(np.zeros((6, 2, 2), np.float32), np.full((6, 2, 2), 2))
    with pytest.raises(InputError, match="an array of complex128; allowed: numbers"):
        counts.add(np.zeros((6, 2, 2), complex), np.zeros((6, 2, 2), bool))


def test_file_is_read_sample_by_sample(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    p = random.random((4, 6, 10, 10)).astype(np.float32)
    wanted = random.random(p.shape) < 0.4
    for save in (np.savez, np.savez_compressed):
        path = tmp_path / f"{save.__name__}.npz"
        save(path, predictions=p, targets=wanted)
        answer = score_map_file(path)
        assert answer["miou"] == score(wanted, p).mIoU
        assert list(answer["iou"]["walkway"]) == [f"{t:.2f}" for t in THRESHOLDS]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"predictions": np.zeros((2, 6, 4, 4), np.float32)}, "targets"),
        ({"predictions": np.zeros((2, 6, 4, 4)), "targets": np.zeros((1, 6, 4, 4))}, "zip"),
        ({"predictions": np.zeros(2), "targets": np.zeros(2)}, "row by row"),
        ({"predictions": np.zeros((0, 6, 4, 4)), "targets": np.zeros((0, 6, 4, 4))}, "no sample"),
        ({"predictions": np.zeros((1, 6, 4, 4)), "targets": np.zeros((1, 6, 4, 3))}, "one shape"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(InputError, match=said) as raised:
        score_map_file(tmp_path / "p.npz")
    assert "p.npz" in str(raised.value)


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    np.savez(path, predictions=np.zeros((2, 6, 4, 4)), targets=np.zeros((2, 6, 4, 4)))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"p\.npz: .*allowed: an \.npz"):
        score_map_file(path)
