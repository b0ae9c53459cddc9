"""What `device` means on machines with and without a GPU; CUDA's answers are played."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.search.config.device import check_architecture, resolve_device


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90", "compute_90"])


def test_auto_takes_the_gpu_that_the_process_may_see(
    with_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert resolve_device("auto") == "cpu"
        with pytest.raises(InputError, match=r"device: value 'cuda': .*; allowed: auto, cpu"):
            resolve_device("cuda")


def test_without_a_gpu_cuda_is_one_line() -> None:
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(InputError, match=r"device: value 'cuda': .* is a build without CUDA"):
        resolve_device("cuda")


@pytest.mark.parametrize(("capability", "refused"), [
    ((8, 0), None), ((8, 6), None), ((9, 0), None), ((12, 0), None),
    ((7, 5), "this torch has no kernels"), ((5, 2), "this torch has no kernels"),
])  # fmt: skip
def test_gpu_without_kernels_is_told(capability: Any, refused: str | None) -> None:
    """Kernels run on later devices of their major version, PTX on every later one."""
    built = ["sm_80", "sm_90", "compute_90"]
    if refused is None:
        check_architecture(capability, built)
        return
    with pytest.raises(InputError, match=refused):
        check_architecture(capability, built)


def test_gpu_older_than_spconv_is_told() -> None:
    with pytest.raises(InputError, match=r"compute capability 5\.2, for which spconv"):
        check_architecture((5, 2), ["sm_50"])
