"""What a trial asks for, against what the cluster's nodes have."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.search.cli.main import main
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.connect import ray_connection
from sparsefront.search.driver.gpu_memory import out_of_memory_line
from sparsefront.search.driver.resources import check_gpus, lacking

NODES: list[Any] = [
    {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 2.0}},
    {"Alive": True, "Resources": {"CPU": 64.0}},
    {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 8.0}},
]


@pytest.mark.parametrize(("cpus", "gpus", "said"), [
    (4, 0.5, None), (64, 0, None), (16, 2, None),
    (4, 4, "gpus_per_trial: value 4; the cluster's nodes have 16 CPUs + 2 GPUs, 64 CPUs + 0 GPUs"),
    (65, 0, "cpus_per_trial: value 65;"),
    (32, 1, "cpus_per_trial: value 32, gpus_per_trial: value 1;"),
])  # fmt: skip
def test_one_living_node_must_have_room(cpus: float, gpus: float, said: str | None) -> None:
    found = lacking({"CPU": cpus, "GPU": gpus}, NODES)
    assert found is None if said is None else found is not None and found.startswith(said)


@pytest.mark.long
@pytest.mark.parametrize("wait_s", [0.0, 3.0])
def test_gpus_that_are_not_there_are_an_error_at_once(
    sweep_data: dict[str, Any], write_yaml: Any, wait_s: float, capsys: Any
) -> None:
    """Within ten seconds of Ray's start, or when the wait is over."""
    sweep = replace(read_sweep(write_yaml(sweep_data)), gpus_per_trial=1.0)
    started = time.monotonic()
    with (
        pytest.raises(InputError, match="gpus_per_trial: value 1; the cluster's nodes have"),
        ray_connection(None, sweep, wait_s),
    ):
        raise AssertionError
    assert time.monotonic() - started < 30
    assert ("waiting for a node, at most 3 s" in capsys.readouterr().err) == (wait_s > 0)


def test_cuda_without_gpus_per_trial_is_refused_but_read(
    sweep_data: dict[str, Any], write_yaml: Any, capsys: Any
) -> None:
    """Before a sweep starts; run folders of earlier versions that have it can be looked at."""
    sweep_data["trial"]["device"] = "cuda"
    file = write_yaml(sweep_data)
    with pytest.raises(InputError, match=r"gpus_per_trial: value 0 with trial\.device 'cuda'"):
        check_gpus(read_sweep(file))
    assert main(["check", str(file)]) == 2
    assert "gpus_per_trial: value 0 with trial.device 'cuda'" in capsys.readouterr().err
    sweep_data["gpus_per_trial"] = 0.5
    check_gpus(read_sweep(write_yaml(sweep_data)))


def test_out_of_memory_says_what_is_left_to_try(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    """Nothing that the trial does already: no batch below 1, no second recomputation."""
    sweep_data["trial"]["fine_tune"].update(batch_size=3, accumulate=2)
    spec = read_sweep(write_yaml(sweep_data)).trial
    line = out_of_memory_line(torch.OutOfMemoryError("tried 2 GiB"), spec)
    assert line == (
        "out of GPU memory with fine_tune.batch_size 3: tried 2 GiB; try fine_tune.batch_size 1 "
        "with fine_tune.accumulate 6, or checkpoint_activations: true, or more of the GPU "
        "(gpus_per_trial)"
    )
    tuned = replace(spec.fine_tune, batch_size=1)
    spec = replace(spec, checkpoint_activations=True, fine_tune=tuned)
    line = out_of_memory_line(torch.OutOfMemoryError("tried 2 GiB"), spec)
    assert line.endswith("tried 2 GiB; try more of the GPU (gpus_per_trial)")
