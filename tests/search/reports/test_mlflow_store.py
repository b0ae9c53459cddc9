"""The MLflow database appears whole or not at all, and no write to it is cut in two."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sparsefront.search.reports.mlflow_store import WholeCalls, make_database
from sparsefront.search.runs.interrupts import interruptible


@pytest.mark.long
def test_database_is_made_whole(tmp_path: Path) -> None:
    """What a killed driver left is cleared away, and a second call changes nothing."""
    left = tmp_path / ".mlflow.db.999999999"
    left.write_text("half a database")
    path = tmp_path / "mlflow.db"
    make_database(path)
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db"]
    stamp = path.stat().st_mtime_ns
    make_database(path)
    assert path.stat().st_mtime_ns == stamp
    client = MlflowClient(f"sqlite:///{path}")
    assert client.create_experiment("x", artifact_location=tmp_path.as_uri())


class Slow:
    """A client whose writes are interrupted in their middle."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, what: str, *, again: str = "") -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        self.written.append(what + again)
        return what


def test_interrupted_write_is_done_to_its_end() -> None:
    client = Slow()
    with interruptible(), pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        WholeCalls(client).write("a", again="b")
    assert client.written == ["ab"]
