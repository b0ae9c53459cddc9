"""What pruning costs in accuracy: the loss that scores predict, recalibrated on measured trials.

measured = base + (1 - base) (1 - exp(-k x^q)),  x = sum over groups of e^tilt_g predicted loss_g,
on a scale where 0 is the best value measured and 1 counts nothing. Scores get the order of groups
roughly right and their scale wrong, so each group has a tilt, with a prior around 0; the rest says
how lost score mass becomes lost accuracy. Groups may share tilts: one of a modality is that of all
its stages. Posterior by Laplace's approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Floats = NDArray[np.float64]
BASE, LOG_K, LOG_Q, TILTS = 0, 1, 2, 3
PRIOR_MEAN = (0.0, np.log(2.5), np.log(2.0))  # what small losses do after fine-tuning
PRIOR_STD = (0.05, 1.0, 0.4)
TILT_STD = 1.0
FIRST_NOISE, LEAST_NOISE, MOST_NOISE = 0.03, 0.005, 0.2


@dataclass(frozen=True)
class LossCurve:
    """One set of parameters [3 + t]: base, log k, log q, and the tilts; spread [t, n] has a 1 where
    a tilt is one of a group's, None: each group has its own.
    """

    parameters: Floats
    spread: Floats | None = None

    @property
    def tilts(self) -> Floats:
        return self.parameters[TILTS:]

    def at(self, predicted: Floats) -> Floats:
        """Loss [...] at the groups' predicted losses [..., n]; these add to 1 when all is gone."""
        base = self.parameters[BASE]
        k, q = np.exp(self.parameters[LOG_K]), np.exp(self.parameters[LOG_Q])
        tilts = self.tilts if self.spread is None else self.tilts @ self.spread
        x = np.maximum(predicted @ np.exp(tilts), 1e-12)
        return base + (1 - base) * -np.expm1(-k * x**q)


@dataclass(frozen=True)
class LossModel:
    """Posterior of a LossCurve: mean [3 + t], covariance, and the noise of a measurement."""

    mean: Floats
    covariance: Floats
    noise: float
    spread: Floats | None = None

    @property
    def best(self) -> LossCurve:
        return LossCurve(self.mean, self.spread)

    def drawn(self, random: np.random.Generator, exploration: float = 1.0) -> LossCurve:
        """A curve as likely as the posterior says (Thompson sampling); below 1, nearer its mean.
        The base stays: all allocations have it; a lower one would promise gain where none is.
        """
        found = random.multivariate_normal(self.mean, exploration * self.covariance)
        found[BASE] = self.mean[BASE]
        return LossCurve(found, self.spread)


def recalibrated(predicted: Floats, measured: Floats, spread: Floats | None = None) -> LossModel:
    """The model after trials with predicted losses [N, n] and measured losses [N]; N may be 0."""
    model = _fitted(predicted, measured, spread, FIRST_NOISE)
    if len(measured) == 0:
        return model
    residuals = model.best.at(predicted) - measured
    noise = float(np.clip(np.sqrt((residuals**2).mean()), LEAST_NOISE, MOST_NOISE))
    return _fitted(predicted, measured, spread, noise)


def _fitted(predicted: Floats, measured: Floats, spread: Floats | None, noise: float) -> LossModel:
    tilts = predicted.shape[1] if spread is None else len(spread)
    mean = np.array([*PRIOR_MEAN, *np.zeros(tilts)])
    std = np.array([*PRIOR_STD, *np.full(tilts, TILT_STD)])

    def residuals(parameters: Floats) -> Floats:
        curve = LossCurve(parameters, spread)
        off = curve.at(predicted) - measured if len(measured) else np.empty(0)
        return np.concatenate([off / noise, (parameters - mean) / std])

    found = least_squares(residuals, mean, max_nfev=60)
    covariance = np.linalg.inv(found.jac.T @ found.jac)
    return LossModel(found.x, (covariance + covariance.T) / 2, noise, spread)
