"""Which code a sweep was launched from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from sparsefront.search.trial.provenance import git_state


def test_changed_tracked_files_make_a_folder_dirty(tmp_path: Path) -> None:
    """Tracked files that differ make it dirty; a folder outside of git has no commit."""
    assert git_state(tmp_path) is None
    place = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b"}
    place |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, env=place, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "first")
    state = git_state(tmp_path)
    assert state is not None and len(state["commit"]) == 40 and state["dirty"] is False
    (tmp_path / "other").write_text("untracked")
    assert git_state(tmp_path) == state
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == {**state, "dirty": True}
