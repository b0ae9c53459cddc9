"""JSON lines: the machine, then a line for each trial as it ends, then what the driver took."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ray.tune import Callback

METRICS = ("mAP", "NDS", "GFLOPs", "GMACs_dense", "nonzeros")
PACKAGES = ("torch", "ray", "optuna", "mlflow", "nuscenes-devkit", "numpy")


class Records(Callback):
    """Writes to a new file; FileExistsError where it is there already."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self._path = path
        self._started = time.monotonic(), time.process_time()
        with path.open("x") as file:
            file.write(json.dumps({"machine": machine(), **about}) + "\n")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        seconds = {k: v for k, v in result.items() if k.endswith(("_wall_s", "_cpu_s"))}
        self._append(
            {
                "trial": trial.trial_id,
                "values": dict(trial.config),
                "metrics": {name: result[name] for name in METRICS},
                "seconds": seconds,
                "pid": result["pid"],
            }
        )

    def finish(self) -> None:
        """What the driver took: search, loggers, MLflow and Ray's own bookkeeping."""
        wall, cpu = self._started
        self._append(
            {
                "driver": {
                    "wall_s": time.monotonic() - wall,
                    "cpu_s": time.process_time() - cpu,
                }
            }
        )

    def _append(self, line: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, and versions of what runs."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((row.split(":")[1].strip() for row in info if row.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": name or platform.processor(),
        "cores": os.cpu_count(),
        "memory_GB": round(memory / 1e9, 1),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
