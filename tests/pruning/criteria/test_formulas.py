"""One-weight and few-weight cases of each criterion, worked out in the docstrings, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsefront.pruning.criteria import IMP, LAMP, Fisher, GraSP, ProsPr, Random, SynFlow, Taylor
from sparsefront.pruning.criteria.synflow import _fitting
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.weights import prunable_weights

GROUPS = ModalityGroups({"all": ("weight", "0", "2", "4")})


def linear(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return layer


def scores(criterion: Any, model: nn.Module, batches: list[Any], loss: Any) -> Tensor:
    found: Tensor = criterion.scores(model, GROUPS, batches, loss).by_weight["weight"]
    return found


def quadratic(model: nn.Module, a: Tensor) -> Tensor:
    """L = w A w / 2 for the row w of a linear layer."""
    w = model.weight
    return (w @ a @ w.T).sum() / 2  # type: ignore[operator, union-attr]


def test_prospr_closed_form() -> None:
    """L = a w^2 / 2, w_t+1 = (1 - lr a) w_t, so w_T = r^T w_0 with r = 1 - lr a, and
    dL(w_T)/dw_0 = a r^(2T) w_0. a = 2, w_0 = 3, lr = 0.1, T = 3: r = 0.8;
    second order |w_0 a r^6 w_0| = 18 * 0.262144, first order |w_0 a r^3 w_0| = 18 * 0.512.
    """
    a = torch.tensor([[2.0]]).double()
    second = scores(ProsPr(num_steps=3, lr=0.1), linear([3.0]), [a], quadratic)
    first = scores(ProsPr(num_steps=3, lr=0.1, second_order=False), linear([3.0]), [a], quadratic)
    assert second.item() == pytest.approx(18 * 0.8**6, abs=1e-12)
    assert first.item() == pytest.approx(18 * 0.8**3, abs=1e-12)


def test_prospr_momentum_and_new_data() -> None:
    """Heavy ball on a = 1, w_0 = 1, lr = 0.5, momentum 0.5, two steps: v1 = 1, w1 = 0.5;
    v2 = 0.5 + 0.5 = 1, w2 = 0; w2 = (1 - 0.5 - 0.5 (0.5 + 0.5)) w_0 = 0, so the score is 0.
    New data, one step with a = 1 (w1 = 0.5 w_0), loss with a = 4: |w_0 * 4 * 0.5 * 0.5 w_0| = 1.
    """
    one, four = torch.ones(1, 1).double(), torch.full((1, 1), 4.0).double()
    ball = ProsPr(num_steps=2, lr=0.5, momentum=0.5)
    assert scores(ball, linear([1.0]), [one], quadratic).item() == pytest.approx(0, abs=1e-12)
    fresh = ProsPr(num_steps=1, lr=0.5, new_data=True)
    assert scores(fresh, linear([1.0]), [one, four], quadratic).item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least 2"):
        scores(fresh, linear([1.0]), [one], quadratic)


def test_prospr_structured() -> None:
    """T = 0 is |w g| of a filter's sum: w = (1, -2), g = A w = (1, -2) with A = 1: |1 + 4| = 5."""
    found = scores(
        ProsPr(num_steps=0, structured=True),
        linear([1.0, -2.0]),
        [torch.eye(2).double()],
        quadratic,
    )
    assert found.tolist() == [[5.0, 5.0]]


def test_grasp_by_hand() -> None:
    """A = [[2, 1], [1, 3]], w = (1, -1): g = (1, -2), H g = A g = (0, -5); w (H g) = (0, 5)."""
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double()
    assert scores(GraSP(), linear([1.0, -1.0]), [a], quadratic).tolist() == [[0.0, 5.0]]


def test_lamp_by_hand() -> None:
    """Squares 1, 9, 4: 9/9; 4/(9 + 4); 1/(9 + 4 + 1). Of equal weights the first scores higher."""
    found = scores(LAMP(), linear([1.0, -3.0, 2.0]), [], None)
    assert found.tolist() == [[1 / 14, 1.0, 4 / 13]]
    assert scores(LAMP(), linear([2.0, 2.0]), [], None).tolist() == [[1.0, 0.5]]


def test_taylor_by_hand() -> None:
    """L = sum of W x, x = (1, 2): g = (1, 2) in each row. W rows (1, 1), (2, -1):
    gate (1 + 2)^2 = 9 and (2 - 2)^2 = 0; independent 1 + 4 = 5 and 4 + 4 = 8.
    """
    x = torch.tensor([[1.0, 2.0]]).double()
    loss = lambda model, batch: model(batch).sum()  # noqa: E731
    layer = linear([1.0, 1.0], [2.0, -1.0])
    assert scores(Taylor(), layer, [x], loss).tolist() == [[9, 9], [0, 0]]
    assert scores(Taylor(form="independent"), layer, [x], loss).tolist() == [[5, 5], [8, 8]]


def test_fisher_by_hand() -> None:
    """y = w1 x1 + w2 x2, w = (2, -1), L = y: gradients are the inputs (1, 3) and (2, -1), g w is
    (2, -3) and (4, 1), half the mean of the squares (4 + 16) / 4 and (9 + 1) / 4.
    """
    layer = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -1.0]]))
    batches = [torch.tensor([[1.0, 3.0]]).double(), torch.tensor([[2.0, -1.0]]).double()]
    assert scores(Fisher(), layer, batches, lambda m, b: m(b).sum()).tolist() == [[5.0, 2.5]]


def test_taylor_of_a_transposed_convolution() -> None:
    """Filters of a transposed convolution lie along axis 1."""
    layer = nn.ConvTranspose2d(2, 3, 2, bias=False).double()
    x = torch.randn(1, 2, 3, 3).double()
    found = scores(Taylor(), layer, [x], lambda m, b: m(b).square().sum())
    assert found.shape == (2, 3, 2, 2)
    for index in range(3):
        assert len(found[:, index].unique()) == 1


def test_synflow_by_hand() -> None:
    """One layer: R = sum |W| 1, so every score is |w|. Two of weight 1e30 in float32: R = 1e60,
    more than float32 holds, so both scores are over the largest, 1.
    """
    found = scores(
        SynFlow(num_iterations=1), linear([1.0, -2.0], [3.0, 4.0]), [torch.ones(1, 2)], None
    )
    assert found.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    deep = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        for weight in deep.parameters():
            weight.fill_(1e30)
    found = SynFlow(num_iterations=1).scores(deep, GROUPS, [torch.ones(1, 1)], None).by_weight  # type: ignore[arg-type, assignment]
    assert [score.item() for score in found.values()] == [1.0, 1.0]  # type: ignore[attr-defined]


def test_synflow_keeps_its_order_where_float32_ends() -> None:
    """1e60, 1 and 1e-60 fit float32 to the power 76 / 120 or so: still three sizes, none 0."""
    wide = {"w": torch.tensor([1e60, 1.0, 1e-60], dtype=torch.float64)}
    found = _fitting(wide, {"w": torch.float32})["w"].float()
    assert found[0] == 1.0
    assert found[0] > found[1] > found[2] > 0
    assert _fitting(wide, {"w": torch.float64}) is wide


def test_synflow_conserves_flow() -> None:
    """Without biases the scores of each layer sum to the same R (Tanaka et al., theorem 1)."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False), nn.ReLU(),
        nn.Linear(8, 3, bias=False),
    ).double()  # fmt: skip
    found = SynFlow(num_iterations=1).scores(model, GROUPS, [torch.zeros(2, 4)], None).by_weight  # type: ignore[arg-type]
    sums = [float(s.sum()) for s in found.values()]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)


def test_synflow_never_empties_a_layer() -> None:
    """100 iterations to 99 % keep a path through every layer; a single shot would not."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 2)
    )
    criterion = SynFlow(num_iterations=100, sparsity=0.99)
    found = criterion.scores(model, GROUPS, [torch.zeros(1, 30)], None).by_weight  # type: ignore[arg-type]
    alive = [int((s > 0).sum()) for s in found.values()]
    assert min(alive) > 0
    assert found["0.weight"].dtype == torch.float32
    total = sum(s.numel() for s in found.values())
    assert sum(alive) <= round(0.01 ** (99 / 100) * total)


def test_imp_by_hand() -> None:
    """w = (1, 2, 3, 4), p = 1/2, 3/4 removed, no training: round 1 removes 1 and 2, which score
    |w| / 8; round 2 removes 3: 1 + 3/8; 4 stays: 2 + 4/8.
    """
    found = scores(IMP(rate=0.5, sparsity=0.75, steps=0), linear([1.0, 2.0, 3.0, 4.0]), [], None)
    assert found.tolist() == [[0.125, 0.25, 1.375, 2.5]]


def test_imp_trains_and_rewinds() -> None:
    """L = |w - a|^2 / 2, one SGD step of 1/2 moves w0 to (w0 + a) / 2. w0 = (1, 2, 3, 4) and
    a = (9, 6, 1, 0): round 1 sees (5, 4, 2, 2), of which 5 and 4 stay; the others score 2/10.
    Rewound and trained again the survivors are at (5, 4) once more (not at (7, 5)): 4 scores
    1 + 4/10, 5 scores 2.5.
    """
    a = torch.tensor([[9.0, 6.0, 1.0, 0.0]]).double()
    loss = lambda model, batch: (model.weight - batch).square().sum() / 2  # noqa: E731
    layer = linear([1.0, 2.0, 3.0, 4.0])
    imp = IMP(rate=0.5, sparsity=0.75, steps=1, lr=0.5, optimizer="sgd")
    assert scores(imp, layer, [a], loss).tolist()[0] == pytest.approx([2.5, 1.4, 0.2, 0.2])
    assert layer.weight.tolist() == [[1.0, 2.0, 3.0, 4.0]]
    later = IMP(rate=0.5, sparsity=0.75, steps=1, lr=0.5, optimizer="sgd", rewind_steps=1)
    # the start is now (5, 4, 2, 2): trained (7, 5, 1.5, 1); survivors again (7, 5)
    assert scores(later, layer, [a], loss).tolist()[0] == pytest.approx(
        [2.5, 1 + 5 / 14, 1.5 / 14, 1 / 14]
    )


def test_imp_densities() -> None:
    assert IMP(rate=0.2, sparsity=0.5).densities() == pytest.approx([0.8, 0.64, 0.512, 0.5])
    assert IMP(rate=0.9, sparsity=0.5).densities() == [0.5]


def test_random_leaves_the_generator() -> None:
    model = linear([1.0, 2.0], [3.0, 4.0])
    state = torch.get_rng_state()
    assert torch.equal(
        scores(Random(seed=1), model, [], None), scores(Random(seed=1), model, [], None)
    )
    assert not torch.equal(
        scores(Random(seed=1), model, [], None), scores(Random(seed=2), model, [], None)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert list(prunable_weights(model)) == ["weight"]


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SynFlow(num_iterations=0), "num_iterations"),
        (lambda: SynFlow(sparsity=1.0), "sparsity"),
        (lambda: ProsPr(num_steps=-1), "num_steps"),
        (lambda: IMP(rate=0.0), "rate"),
        (lambda: IMP(steps=-1), "steps"),
    ],
)
def test_wrong_options(make: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()
