"""What a trial that ended leaves behind, removed."""

from __future__ import annotations

from sparsefront.search.config.trial_files import CHECKPOINT
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.trial.checkpoint import remove_checkpoint


def tidy(run: RunFolder, trial_id: int) -> None:
    """Removes what a trial that ended needs no more: its checkpoint, and what processes that were
    killed had half-written.
    """
    folder = run.trial_dir(trial_id)
    if (folder / CHECKPOINT).is_file():
        run.publish(trial_id)  # its worker died before it could remove it for all
    remove_checkpoint(folder)
    for file in folder.glob(".*"):
        file.unlink(missing_ok=True)
