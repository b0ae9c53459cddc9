"""Running statistics against averages by hand, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.lidar.sparse_conv import spconv
from sparsefront.pruning.repair.norms import reestimate_norms


def batches(count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 5, 6, generator=generator).double() + i for i in range(count)]


def test_statistics_are_the_averages_over_the_batches() -> None:
    norm = nn.BatchNorm2d(3, momentum=0.01).double()
    given = batches()
    assert reestimate_norms(norm, given) == ()
    flat = [x.transpose(0, 1).flatten(1) for x in given]
    mean = torch.stack([x.mean(1) for x in flat]).mean(0)
    variance = torch.stack([x.var(1, unbiased=True) for x in flat]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-12, atol=1e-12)
    assert norm.momentum == 0.01 and norm.training


def test_later_norms_see_what_earlier_ones_hand_on() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 2, 1),
        nn.BatchNorm2d(2),
    ).double().eval()  # fmt: skip
    given = batches()
    reestimate_norms(model, given)
    last = [model[4](torch.relu(batch_normalised(model[1], model[0](x)))) for x in given]
    mean = torch.stack([x.mean((0, 2, 3)) for x in last]).mean(0)
    torch.testing.assert_close(model[5].running_mean, mean.detach())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm1d(3), nn.SyncBatchNorm(3), spconv.SparseBatchNorm(3)],
    ids=["dense", "synchronised", "sparse"],
)
def test_every_kind_of_batch_norm(norm: Any) -> None:
    x = torch.randn(20, 3)
    given: Any = x
    if isinstance(norm, spconv.SparseBatchNorm):
        sites = torch.arange(20).int()[:, None].expand(-1, 4).contiguous()
        sites[:, 0] = 0
        given = spconv.SparseConvTensor(x, sites, [20, 20, 20], 1)
    assert reestimate_norms(norm, [given]) == ()
    torch.testing.assert_close(norm.running_mean, x.mean(0))
    torch.testing.assert_close(norm.running_var, x.var(0))


def test_norms_without_statistics_cost_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.GroupNorm(1, 3))

    def never(model: Any, batch: Any) -> object:
        raise AssertionError

    assert reestimate_norms(model, [], never) == ()


def test_norm_that_no_batch_reaches_keeps_its_statistics() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Any:
            return self.used(x)

    model = Half().double()
    model.idle.running_mean.fill_(7.0)
    assert reestimate_norms(model, batches()) == ("idle",)
    assert (model.idle.running_mean == 7.0).all()
    assert (model.used.running_mean != 0).all()


def test_what_cannot_be_measured_changes_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    broken = batches()
    broken[1][0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="statistics of 0 are not finite"):
        reestimate_norms(model, broken)
    with pytest.raises(InputError, match="no batches given"):
        reestimate_norms(model, [])
    with pytest.raises(InputError, match="several frames or positions"):
        reestimate_norms(model, [torch.randn(1, 3, 1, 1).double()])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_same_frames_give_the_same_bits() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double()
    reestimate_norms(model, batches())
    once = model.state_dict()["1.running_var"].clone()
    reestimate_norms(model, batches())
    assert torch.equal(model.state_dict()["1.running_var"], once)


def batch_normalised(norm: Any, x: Tensor) -> Tensor:
    """With the batch's own mean and biased variance, as in training."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    unit = (x - mean) / (variance + norm.eps).sqrt()
    return unit * norm.weight[:, None, None] + norm.bias[:, None, None]
