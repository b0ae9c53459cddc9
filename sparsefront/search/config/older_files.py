"""Fields that earlier versions wrote under another name or lacked, brought up to date."""

from __future__ import annotations

from typing import Any


def upgraded_trial(trial: dict[str, Any]) -> dict[str, Any]:
    """The data of a TrialSpec; `trade_off.groups` was `trade_off.budgets` in version 0.1."""
    trade_off = trial.get("trade_off")
    if not isinstance(trade_off, dict) or "budgets" not in trade_off:
        return trial
    renamed = {"groups" if name == "budgets" else name: v for name, v in trade_off.items()}
    return {**trial, "trade_off": renamed}


def with_later_fields(trial: dict[str, Any]) -> dict[str, Any]:
    """Of a trial as a version wrote it in full: what came later is off, as it was off then."""
    if "norm_frames" in trial:
        return trial
    tuning = {**trial.get("fine_tune", {}), "sparsity_power": 0.0}
    return {**trial, "norm_frames": 0, "repair": {"method": "none"}, "fine_tune": tuning}


def upgraded_sweep(sweep: Any, in_full: bool = False) -> Any:
    """The same for the data of a sweep file, written in full or by a user."""
    if not isinstance(sweep, dict) or not isinstance(sweep.get("trial"), dict):
        return sweep
    trial = upgraded_trial(sweep["trial"])
    found = {**sweep, "trial": with_later_fields(trial) if in_full else trial}
    space = sweep.get("space")
    if isinstance(space, dict) and "trade_off.budgets" in space:
        names = {"trade_off.budgets": "trade_off.groups"}
        found["space"] = {names.get(name, name): dimension for name, dimension in space.items()}
    return found
