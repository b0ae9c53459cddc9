"""MACs of each layer type against arithmetic by hand, sparse pairs against brute force."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsefront.errors import InputError
from sparsefront.models.lidar.sparse_conv import NATIVE, spconv
from sparsefront.pruning.cost import profile
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.pairs import pairs_per_offset

ALL = ModalityGroups({"all": ("0", "1", "2", "attention", "value", "weight", "bias")})


def macs(model: nn.Module, x: Tensor) -> float:
    return profile(model, [x], groups=_everything(model)).cost(model).macs


def _everything(model: nn.Module) -> ModalityGroups:
    return ModalityGroups({"all": tuple(n for n, _ in model.named_parameters())})


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(5, 7), (1, 3, 5), 3 * 5 * 7),
        (nn.Conv2d(4, 6, 3, padding=1), (1, 4, 8, 8), 64 * 4 * 6 * 9),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (1, 4, 8, 8), 16 * 4 * 6 * 9),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), (1, 4, 8, 8), 64 * 4 * 9),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 8, 8), 64 * 4 * 6 * 4),
        (nn.Conv1d(2, 3, 3), (1, 2, 10), 8 * 2 * 3 * 3),
    ],
)
def test_macs_of_dense_layers(layer: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    assert macs(layer, torch.randn(shape)) == expected


def test_macs_of_attention() -> None:
    """10 tokens, width 8: projections 4 * 10 * 8 * 8 = 2560, QK^T and AV 2 * 10 * 10 * 8 = 1600."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.attention(x, x, x)[0]
            return out

    model = Attention().eval()
    assert macs(model, torch.randn(1, 10, 8)) == 2560 + 1600


def test_functional_attention_counts_and_bare_products_are_named() -> None:
    """scaled_dot_product_attention over 6 tokens of width 4 in 2 heads: 2 * 2 * 6 * 6 * 4 = 576
    beside a 4 -> 4 projection of 12 rows (192); a bare matmul is named, not counted.
    """

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            v = self.value(x)
            return torch.matmul(functional.scaled_dot_product_attention(x, x, v), v.mT)

    model = Functional()
    found = profile(model, [torch.randn(1, 2, 6, 4)], groups=_everything(model))
    assert found.cost(model).macs == 192 + 576
    assert "matmul in Functional" in found.not_counted


def test_cost_after_pruning() -> None:
    """Linear 4 -> 2 (10 rows) with 3 of 8 weights kept: 30 MACs; bias is 2 more parameters."""
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    found = profile(model, [torch.randn(10, 4)], groups=ALL)
    mask = PruningMask({"0.weight": torch.tensor([[1, 0, 0, 1], [0, 0, 1, 0]]).bool()})
    cost = found.cost(mask)
    assert (cost.macs_dense, cost.macs) == (80, 30)
    assert (cost.parameters, cost.nonzeros) == (10, 5)
    mask.apply(model)
    assert found.cost(model) == cost
    assert found.cost(model.state_dict()) == cost
    assert cost.to_json()["per_modality"]["all"]["macs"] == 30


def test_uses_are_averaged_over_frames_and_summed_over_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Linear(3, 3)
            self.idle = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.value(self.value(x))
            return out

    model = Twice()
    frames = [torch.randn(2, 3), torch.randn(4, 3)]
    cost = profile(model, frames, groups=_everything(model)).cost(model)
    assert cost.per_layer["value.weight"].macs == 2 * 3 * 9
    assert cost.per_layer["idle.weight"].macs == 0


def brute_force(
    sites: list[tuple[int, ...]], shape: tuple[int, ...], geometry: tuple[int, int, int], subm: bool
) -> dict[tuple[int, ...], int]:
    """Pairs by testing every site, offset and output site."""
    kernel, stride, padding = geometry
    active = set(sites)
    counts = {}
    for offset in product(range(kernel), repeat=3):
        count = 0
        if subm:
            for site in sites:
                other = tuple(s + o - kernel // 2 for s, o in zip(site, offset, strict=True))
                count += other in active
        else:
            size = [(n + 2 * padding - kernel) // stride + 1 for n in shape]
            for out in product(*map(range, size)):
                source = tuple(p * stride - padding + o for p, o in zip(out, offset, strict=True))
                count += source in active
        counts[offset] = count
    return counts


def sparse_input(
    channels: int, shape: tuple[int, int, int]
) -> tuple[spconv.SparseConvTensor, list]:
    generator = torch.Generator().manual_seed(0)
    sites = (torch.rand(shape, generator=generator) < 0.15).nonzero()
    indices = torch.cat([torch.zeros(len(sites), 1), sites], dim=1).int()
    features = torch.randn(len(sites), channels, generator=generator)
    return spconv.SparseConvTensor(features, indices, list(shape), 1), [
        tuple(s) for s in sites.tolist()
    ]


@pytest.mark.parametrize("kind", ["subm", "strided"])
def test_sparse_pairs_equal_brute_force_and_spconv(kind: str) -> None:
    """Against brute force and against the count that spconv itself keeps."""
    subm = kind == "subm"
    make = spconv.SubMConv3d if subm else spconv.SparseConv3d
    stride = 1 if subm else 2
    layer = make(3, 5, 3, stride=stride, padding=1, bias=False, indice_key="k", algo=NATIVE)
    shape = (6, 7, 9)
    x, sites = sparse_input(3, shape)
    pairs = pairs_per_offset(layer, x.indices, shape)
    expected = brute_force(sites, shape, (3, stride, 1), subm)
    assert {o: int(pairs[o]) for o in expected} == expected
    with torch.no_grad():
        kept = layer(x).indice_dict["k"].indice_pair_num
    own = len(sites) + 2 * int(kept.sum()) if subm else int(kept.sum())
    assert int(pairs.sum()) == own


def test_sparse_macs_count_pairs_of_kept_weights() -> None:
    """Sum over offsets of pairs times non-zeros of that offset."""
    layer = spconv.SparseConv3d(3, 5, 3, stride=2, padding=1, bias=False, algo=NATIVE)
    x, _ = sparse_input(3, (6, 7, 9))
    torch.manual_seed(0)
    mask = PruningMask({"weight": torch.rand(layer.weight.shape) > 0.6})
    found = profile(layer, [x], groups=ModalityGroups({"all": ("weight",)}))
    pairs = pairs_per_offset(layer, x.indices, (6, 7, 9))
    expected = sum(
        int(pairs[o]) * int(mask.by_weight["weight"][:, o[0], o[1], o[2], :].sum())
        for o in product(range(3), repeat=3)
    )
    cost = found.cost(mask)
    assert cost.macs == expected
    assert cost.macs_dense == int(pairs.sum()) * 15


def test_profiles_that_do_not_fit_raise() -> None:
    with pytest.raises(InputError, match="batches"):
        profile(nn.Linear(2, 2), [], groups=ALL)
    model = nn.Sequential(nn.Linear(4, 2))
    found = profile(model, [torch.randn(1, 4)], groups=ALL)
    with pytest.raises(InputError, match=r"0\.weight"):
        found.cost(nn.Sequential(nn.Linear(3, 2)))
    inverse = spconv.SparseInverseConv3d(3, 5, 3, indice_key="k")
    x, _ = sparse_input(3, (6, 7, 9))
    with pytest.raises(InputError, match="SubMConv and SparseConv"):
        pairs_per_offset(inverse, x.indices, (6, 7, 9))
