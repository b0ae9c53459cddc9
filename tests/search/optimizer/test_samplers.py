"""Which sampler proposes, and from what."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sparsefront.search.optimizer import samplers
from sparsefront.search.optimizer.samplers import suggest

SPACE = {f"x{i}": FloatDistribution(0.0, 1.0) for i in range(4)}
MINIMIZE = [StudyDirection.MINIMIZE] * 2


def past(count: int) -> list[FrozenTrial]:
    """Random points; both objectives are best where all x are 0.9."""
    random = np.random.default_rng(0)
    found = []
    for point in random.random((count, 4)):
        far = np.abs(point - 0.9)
        params = dict(zip(SPACE, point.tolist(), strict=True))
        values = [float(far[:2].sum()), float(far[2:].sum())]
        found.append(create_trial(values=values, params=params, distributions=SPACE))
    return found


def used(monkeypatch: pytest.MonkeyPatch, count: int) -> str:
    """The sampler that "auto" takes after so many trials."""
    kinds: list[str] = []
    real = samplers._sampler
    monkeypatch.setattr(
        samplers, "_sampler", lambda kind, seed: kinds.append(kind) or real("random", seed)
    )
    suggest("auto", 0, past(count), MINIMIZE, SPACE)
    return kinds[0]


def test_auto_is_gp_up_to_150_trials_then_nsga2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert used(monkeypatch, 149) == "gp"
    assert used(monkeypatch, 150) == "nsga2"


def test_nsga2_goes_on_from_earlier_trials() -> None:
    """After 200 random trials its children are of the best ones, not random: they lie nearer."""
    trials = past(200)
    points = [suggest("nsga2", seed, trials, MINIMIZE, SPACE) for seed in range(60)]
    children = np.array([[p[name] for name in SPACE] for p in points])
    assert (
        np.abs(children - 0.9).mean()
        < 0.75 * np.abs(np.random.default_rng(1).random((999, 4)) - 0.9).mean()
    )


@pytest.mark.parametrize("kind", ["gp", "tpe", "nsga2", "random"])
def test_same_seed_gives_the_same_values(kind: str) -> None:
    """Also where trials are running; the GP takes these into account."""
    running = create_trial(
        state=TrialState.RUNNING, params=dict.fromkeys(SPACE, 0.9), distributions=SPACE
    )
    trials = [*past(60), *[running] * 10]
    first, again = (suggest(kind, 3, trials, MINIMIZE, SPACE) for _ in range(2))  # type: ignore[arg-type]
    assert first == again
    if kind == "gp":
        assert first != suggest(kind, 3, trials[:-10], MINIMIZE, SPACE)  # type: ignore[arg-type]


def test_only_the_fittest_are_passed_on() -> None:
    """Of 300 trials 200, all of the first front among them; infeasible ones come last."""
    trials = past(300)
    chosen = samplers._fittest(trials, MINIMIZE, 200)
    study = optuna.create_study(directions=["minimize"] * 2)
    study.add_trials(trials)
    best = [t.params for t in study.best_trials]
    assert len(chosen) == 200
    assert all(params in [t.params for t in chosen] for params in best)
    broken = [
        create_trial(
            values=[0.0, 0.0], params=t.params, distributions=SPACE, constraints={"GFLOPs<=1": 1.0}
        )
        for t in trials[:100]
    ]
    assert not any(t.constraints for t in samplers._fittest([*broken, *trials], MINIMIZE, 200))
