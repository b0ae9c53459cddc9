"""What a trial leaves in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_trial
from sparsefront.search.runs.trial_writer import remove_unfinished, write_end


def test_failed_trial_is_not_finished_and_can_be_removed(tmp_path: Path) -> None:
    run = RunFolder(runs=tmp_path, name="none")
    write_end(run, TrialEnd.failed(0, "killed for memory"))
    assert run.finished() == []
    with pytest.raises(InputError, match="finished: none"):
        read_trial(run, 0)
    remove_unfinished(run, 0)
    assert not run.trial_dir(0).exists()


@pytest.mark.parametrize("name", ["result.json", "checkpoint.json"])
def test_finished_trial_and_checkpoint_are_never_removed(tmp_path: Path, name: str) -> None:
    run = RunFolder(runs=tmp_path, name="one")
    run.trial_dir(0).mkdir(parents=True)
    (run.trial_dir(0) / name).write_text("{}")
    remove_unfinished(run, 0)
    assert (run.trial_dir(0) / name).exists()
