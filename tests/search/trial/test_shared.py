"""What trials have in common lies in memory once a node, and trials of it are the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsefront.search.config.data import open_scenes, share_of
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.trial import evaluation_frames
from sparsefront.search.trial.mapped import as_arrays, as_tensors
from sparsefront.search.trial.run_trial import run_trial
from sparsefront.search.trial.shared import Shared, prepare_all, trim

MB = 1 << 20


def test_tensors_come_back_from_arrays() -> None:
    tree = {"a": {"b": torch.arange(6).reshape(2, 3).T, "c": torch.ones(2, dtype=torch.bfloat16)}}
    arrays = as_arrays(tree)
    assert isinstance(arrays["a"]["b"], np.ndarray)
    arrays["a"]["b"].flags.writeable = False  # as Ray maps them
    back = as_tensors(arrays)
    for name, tensor in tree["a"].items():
        assert torch.equal(back["a"][name], tensor) and back["a"][name].dtype is tensor.dtype


def test_trim_keeps_the_last_statistics_and_what_all_share() -> None:
    """Ten trials, each with statistics of its own: the last ones stay, and what all share."""
    base = Shared(statistics={"common": {}}, state={"x": {}})
    shared = base
    for number in range(10):
        shared = replace(shared, statistics={**shared.statistics, str(number): {}})
        shared = trim(shared, base)
    assert list(shared.statistics) == ["common", "6", "7", "8", "9"]
    assert list(shared.state) == ["x"]


@pytest.mark.long
def test_workers_map_shared_weights(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    """Two processes hold 64 MB of weights: neither has them to itself."""
    import ray

    path = sweep_data["trial"]["checkpoint"]
    weights = {"w": torch.arange(16 * MB, dtype=torch.float32)}

    @ray.remote(num_cpus=1)
    class Holder:
        def hold(self, references: list[Any]) -> tuple[float, int]:
            before = private_bytes()
            self.shared: Shared = ray.get(references[0])
            total = float(self.shared.state[path]["w"].sum(dtype=torch.double))
            return total, private_bytes() - before

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        reference = ray.put(Shared(state={path: weights}))
        holders = [Holder.remote() for _ in range(2)]  # type: ignore[attr-defined]
        held = ray.get([holder.hold.remote([reference]) for holder in holders])
        for total, own_bytes in held:
            assert total == float(weights["w"].sum(dtype=torch.double))
            assert own_bytes < 16 * MB
    finally:
        ray.shutdown()


def private_bytes() -> int:
    """Memory that this process alone has."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(1024 * int(kb) for kb in re.findall(r"Private_\w+: +(\d+) kB", text))


def test_given_frames_are_not_read_again(
    sweep_data: dict[str, Any], write_yaml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was given them reads neither images nor annotations of the evaluation frames,
    whatever share it measures on, and finds the same.
    """
    open_scenes.cache_clear()  # other tests have measured other things on these frames
    share_of.cache_clear()
    spec = read_sweep(write_yaml(sweep_data)).trial
    expected = run_trial(spec).result.metrics
    shared = prepare_all([spec], [0.5])
    open_scenes.cache_clear()
    share_of.cache_clear()
    scenes = share_of(spec.val, 1.0, spec.on_bad_sample)
    evaluation_frames.keep(shared.frames[evaluation_frames.key_of(spec)], spec)
    monkeypatch.setattr(scenes, "frame", None)
    monkeypatch.setattr(scenes, "box_rows", None)
    half = share_of(spec.val, 0.5, spec.on_bad_sample, False)
    assert half.cache.keys() == scenes.cache.keys() and len(half.tokens) < len(scenes.tokens)
    assert run_trial(spec, shared).result.metrics == expected


def test_frames_that_cannot_be_written_to_suffice(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    """A trial of frames and weights that cannot be written to, as Ray gives them."""
    spec = read_sweep(write_yaml(sweep_data)).trial
    expected = run_trial(spec).result.metrics
    shared = prepare_all([spec], [])
    for frames in shared.frames.values():
        for found in frames.decoded.values():
            for array in (found.frame.points, found.frame.boxes, *found.images):  # type: ignore[attr-defined]
                array.flags.writeable = False
    open_scenes.cache_clear()
    share_of.cache_clear()
    assert run_trial(spec, shared).result.metrics == expected
