"""Fields that earlier versions wrote under another name, brought up to date as they are read."""

from __future__ import annotations

from typing import Any


def upgraded_trial(trial: dict[str, Any]) -> dict[str, Any]:
    """The data of a TrialSpec; `trade_off.groups` was `trade_off.budgets` in version 0.1."""
    trade_off = trial.get("trade_off")
    if not isinstance(trade_off, dict) or "budgets" not in trade_off:
        return trial
    renamed = {"groups" if name == "budgets" else name: v for name, v in trade_off.items()}
    return {**trial, "trade_off": renamed}


def upgraded_sweep(sweep: Any) -> Any:
    """The same for the data of a sweep file."""
    if not isinstance(sweep, dict) or not isinstance(sweep.get("trial"), dict):
        return sweep
    found = {**sweep, "trial": upgraded_trial(sweep["trial"])}
    space = sweep.get("space")
    if isinstance(space, dict) and "trade_off.budgets" in space:
        names = {"trade_off.budgets": "trade_off.groups"}
        found["space"] = {names.get(name, name): dimension for name, dimension in space.items()}
    return found
