"""Code of one's own goes along to a cluster whose workers have not got it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.helpers import own_task, paths

NAME = "only_with_the_driver"


@pytest.fixture
def launched(token_cluster: Any, tmp_path: Path) -> Any:
    """Runs a sweep whose task's package is on the PYTHONPATH of the driver alone."""
    package = tmp_path / "elsewhere" / NAME
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(Path(own_task.__file__).read_text())
    torch.manual_seed(0)
    torch.save(own_task.Guess().build().state_dict(), tmp_path / "dense.pt")

    def run(name: str, code: list[str]) -> subprocess.CompletedProcess[str]:
        sweep: dict[str, Any] = {
            "name": name,
            "trial": {
                "task": {"name": f"{NAME}.tasks:Guess"},
                "checkpoint": str(tmp_path / "dense.pt"),
                "criterion": {"name": "magnitude"},
                "fine_tune": {"steps": 1},
            },
            "space": {"allocation.per_modality.sight": {"low": 0.0, "high": 0.9}},
            "trials": 1,
            "code": code,
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(sweep))
        environment = {
            **token_cluster.environment,
            "PYTHONPATH": f"{paths.CHECKOUT}:{package.parent}",
            "RAY_AUTH_TOKEN_PATH": str(token_cluster.token_path),
        }
        verb = [sys.executable, "-c", "from sparsefront.search.cli.main import main; exit(main())"]
        return subprocess.run(
            [*verb, "sweep", f"{name}.yaml", "--address", token_cluster.address],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    run.package = str(package)  # type: ignore[attr-defined]
    return run


@pytest.mark.long
def test_code_goes_along_and_its_absence_is_told_first(launched: Any) -> None:
    without = launched("without", [])
    assert without.returncode == 2
    assert "code: none given" in without.stderr.splitlines()[0]
    assert f"on a worker: name: value '{NAME}.tasks:Guess': No module named" in without.stderr
    assert "scoring the dense model" not in without.stderr
    along = launched("along", [launched.package])
    assert along.returncode == 0, along.stderr
    assert "1 of 1 trials on the front" in along.stdout
