"""Recalibration against losses made by its own formula."""

from __future__ import annotations

import numpy as np
import pytest

from sparsefront.search.optimizer.recalibration import BASE, TILTS, LossCurve, recalibrated


def test_loss_curve_by_hand() -> None:
    """base 0.1, k 2, q 1, tilts log 3 and 0: x = 3 x 0.1 + 0.2 = 0.5, 0.1 + 0.9 (1 - e^-1)."""
    curve = LossCurve(np.array([0.1, np.log(2), 0.0, np.log(3), 0.0]))
    found = curve.at(np.array([[0.1, 0.2]]))
    np.testing.assert_allclose(found, [0.1 + 0.9 * (1 - np.exp(-1.0))], rtol=1e-12)
    np.testing.assert_allclose(curve.tilts, [np.log(3), 0.0])


def test_finds_the_group_that_scores_underrate() -> None:
    """The first group loses e^1 as much as predicted, the second e^-1: both tilts are found."""
    random = np.random.default_rng(0)
    truth = LossCurve(np.array([0.0, np.log(2), 0.0, 1.0, -1.0]))
    predicted = random.random((40, 2)) / 2
    model = recalibrated(predicted, truth.at(predicted))
    assert model.mean[TILTS] - model.mean[TILTS + 1] == pytest.approx(2.0, abs=0.15)
    np.testing.assert_allclose(model.best.at(predicted), truth.at(predicted), atol=0.01)


def test_scores_are_believed_without_trials() -> None:
    model = recalibrated(np.empty((0, 3)), np.empty(0))
    assert model.mean[TILTS:].tolist() == [0.0, 0.0, 0.0]
    drawn = [model.drawn(np.random.default_rng(seed)).tilts for seed in range(300)]
    np.testing.assert_allclose(np.std(drawn, axis=0), 1.0, atol=0.15)
    bases = [model.drawn(np.random.default_rng(seed)).parameters[BASE] for seed in range(9)]
    assert set(bases) == {model.mean[BASE]}  # a draw promises nothing to a whole front


def test_more_trials_leave_less_doubt() -> None:
    random = np.random.default_rng(1)
    truth = LossCurve(np.array([0.0, 0.5, 0.0, 0.3, -0.2]))
    predicted = random.random((30, 2)) / 2
    spread = [
        np.trace(recalibrated(predicted[:n], truth.at(predicted[:n])).covariance)
        for n in (3, 10, 30)
    ]
    assert spread[0] > spread[1] > spread[2]
