"""AlterMOMA worked out by hand, in float64, on a model of five weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.criteria import AlterMOMA
from sparsefront.pruning.groups import ModalityGroups

Batch = tuple[Tensor, Tensor]


class TwoBranches(nn.Module):
    """y = wf (wc . xc + wl . xl)"""

    def __init__(self) -> None:
        super().__init__()
        self.camera = nn.Linear(2, 1, bias=False)
        self.lidar = nn.Linear(2, 1, bias=False)
        self.fusion = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.camera.weight.copy_(torch.tensor([[1.0, 2.0]]))
            self.lidar.weight.copy_(torch.tensor([[1.0, 3.0]]))
            self.fusion.weight.fill_(1.0)
        self.double()

    def forward(self, batch: Batch) -> Tensor:
        out: Tensor = self.fusion(self.camera(batch[0]) + self.lidar(batch[1]))
        return out


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """Half of y squared: dL/dy = y."""
    return 0.5 * model(batch).square().sum()


def batch(camera: list[float], lidar: list[float]) -> Batch:
    return torch.tensor([camera]).double(), torch.tensor([lidar]).double()


BATCHES = [batch([1, 1], [1, 1]), batch([1, 0], [0, 1])]
BY_HAND = AlterMOMA(lr=0.1, optimizer="sgd", data="first", last_gradient="before")


def test_deci_and_reri_by_hand() -> None:
    """Whole model, D_1: y = 3 + 4 = 7, so dL/dwc = dL/dwl = 7 and dL/dwf = 49.
    DeCI: camera |1*7|, |2*7|; lidar |1*7|, |3*7|; fusion 49.

    Without lidar, D_1: y = 3; dL/dwc = (3, 3), dL/dwf = 9. One SGD step of 0.1: wc = (0.7, 1.7),
    wf = 0.1. D_2: y = 0.1 * 0.7 = 0.07; dL/dwc = (0.07 * 0.1, 0) = (0.007, 0), dL/dwf = 0.049.
    ReRI: camera |1*3 - 1*0.007| = 2.993, |2*3 - 0| = 6; fusion |9 - 0.049| = 8.951.

    Without camera, D_1: y = 4; dL/dwl = (4, 4), dL/dwf = 16; wl = (0.6, 2.6), wf = -0.6.
    D_2: y = -1.56; dL/dwl = (0, 0.936), dL/dwf = -1.56 * 2.6 = -4.056.
    ReRI: lidar |1*4 - 0| = 4, |3*4 - 3*0.936| = 9.192; fusion |16 + 4.056| = 20.056.
    """
    model = TwoBranches()
    found = BY_HAND.statistics(model, ModalityGroups.from_model(model), BATCHES, loss)
    expected = {
        "deci": {"camera": [7, 14], "lidar": [7, 21], "fusion": [49]},
        "reri_without_lidar": {"camera": [2.993, 6], "fusion": [8.951]},
        "reri_without_camera": {"lidar": [4, 9.192], "fusion": [20.056]},
    }
    assert found.keys() == expected.keys()
    for statistic, values in expected.items():
        assert {n.partition(".")[0] for n in found[statistic]} == set(values)
        for group, row in values.items():
            tensor = found[statistic][f"{group}.weight"]
            assert tensor.dtype == torch.float64
            assert tensor.flatten().tolist() == pytest.approx(row, abs=1e-12)


def test_scores_by_hand() -> None:
    """Eq. 11-13 with alpha = 1, beta = 0.5 from the statistics above."""
    model = TwoBranches()
    criterion = AlterMOMA(
        lr=0.1, optimizer="sgd", data="first", last_gradient="before", alpha=1.0, beta=0.5
    )
    scores = criterion.scores(model, ModalityGroups.from_model(model), BATCHES, loss).by_weight
    assert scores["camera.weight"].flatten().tolist() == pytest.approx(
        [1 / 3 - 0.5 * 2.993 / 8.993, 2 / 3 - 0.5 * 6 / 8.993], abs=1e-12
    )
    assert scores["lidar.weight"].flatten().tolist() == pytest.approx(
        [1 / 4 - 0.5 * 4 / 13.192, 3 / 4 - 0.5 * 9.192 / 13.192], abs=1e-12
    )
    assert scores["fusion.weight"].item() == pytest.approx(1 - 0.25 - 0.25, abs=1e-12)


def test_redundancy_by_masking_by_hand() -> None:
    """D_1 = ((1, 1), (-1, 0)): both give y = 3 - 1 = 2; DeCI camera 2, 4; lidar 2, 0; fusion 4.
    Without lidar y = 3: 3, 6, fusion 9. Without camera y = -1: lidar 1, 0, fusion 1.
    r: camera 1/5, 1/5; lidar below 0; fusion 5/13 and below 0, mean 5/26.
    """
    model = TwoBranches()
    criterion = AlterMOMA(redundancy="masking", beta=0.5)
    batches = [batch([1, 1], [-1, 0])]
    scores = criterion.scores(model, ModalityGroups.from_model(model), batches, loss).by_weight
    assert scores["camera.weight"].flatten().tolist() == pytest.approx([0.9 / 3, 0.9 * 2 / 3])
    assert scores["lidar.weight"].flatten().tolist() == pytest.approx([1, 0])
    assert scores["fusion.weight"].item() == pytest.approx(1 - 0.5 * 5 / 26)


def test_last_gradient_can_follow_its_own_update() -> None:
    """Without lidar the second step, on D_2: wc_1 = 0.7 - 0.1 * 0.007 = 0.6993,
    wf = 0.1 - 0.1 * 0.049 = 0.0951; y = wf * wc_1, dL/dwc_1 = y * wf; ReRI = |3 - that|.
    """
    model = TwoBranches()
    criterion = AlterMOMA(lr=0.1, optimizer="sgd", data="first", last_gradient="after")
    found = criterion.statistics(model, ModalityGroups.from_model(model), BATCHES, loss)
    slope = 0.0951 * 0.6993 * 0.0951
    camera = found["reri_without_lidar"]["camera.weight"].flatten()
    assert camera.tolist() == pytest.approx([3 - slope, 6], abs=1e-12)


def test_deci_is_a_mean_over_batches() -> None:
    """D_2 on the whole model: y = 1 + 3 = 4; dL/dwc = (4, 0). Mean with D_1: (5.5, 3.5)."""
    model = TwoBranches()
    criterion = AlterMOMA(lr=0.1, optimizer="sgd", data="mean")
    found = criterion.statistics(model, ModalityGroups.from_model(model), BATCHES, loss)
    assert found["deci"]["camera.weight"].flatten().tolist() == pytest.approx([5.5, 7.0])


def test_alpha_and_beta_share_their_statistics() -> None:
    assert AlterMOMA(alpha=0.2).statistics_key() == AlterMOMA(beta=1.7).statistics_key()
    assert AlterMOMA(lr=1e-3).statistics_key() != AlterMOMA().statistics_key()


def test_wrong_options_and_groups_raise() -> None:
    model = TwoBranches()
    groups = ModalityGroups.from_model(model)
    with pytest.raises(InputError, match="beta"):
        AlterMOMA(beta=-1.0)
    with pytest.raises(InputError, match="num_batches"):
        AlterMOMA(num_batches=3).scores(model, groups, BATCHES, loss)
    with pytest.raises(InputError, match="at least two modalities"):
        AlterMOMA(fusion="lidar").scores(
            model,
            ModalityGroups({"camera": ("camera", "fusion"), "lidar": ("lidar",)}),
            BATCHES,
            loss,
        )


def test_structured_sums_over_filters() -> None:
    """Each layer above is one filter of two inputs: DeCI |7 + 14| = 21 and |7 + 21| = 28, ReRI
    without lidar |2.993 + 6|; sums run over filters, so every filter's share is 1.
    """
    model = TwoBranches()
    groups = ModalityGroups.from_model(model)
    criterion = AlterMOMA(
        lr=0.1, optimizer="sgd", data="first", last_gradient="before", structured=True, beta=0.25
    )
    found = criterion.statistics(model, groups, BATCHES, loss)
    assert found["deci"]["camera.weight"].tolist() == [[21.0, 21.0]]
    assert found["deci"]["lidar.weight"].tolist() == [[28.0, 28.0]]
    assert found["reri_without_lidar"]["camera.weight"].flatten().tolist() == pytest.approx(
        [8.993, 8.993]
    )
    scores = criterion.combine(found, groups).by_weight
    assert scores["camera.weight"].flatten().tolist() == pytest.approx([0.75, 0.75])
