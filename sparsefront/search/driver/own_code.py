"""Code of one's own that a sweep names: seen by every worker, known by its hash."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparsefront.errors import InputError, one_line
from sparsefront.plugins import KINDS, code_paths, entry_points, home, kind_of, plugin_class
from sparsefront.search.config.space import Choices
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.driver.imported_files import imported_files

IGNORED = ("__pycache__", ".git", ".venv", "runs", "node_modules")
"""Folders without code of one's own."""
FIELDS = {
    "task": "task", "model": "model", "criterion": "criterion", "train": "data", "val": "data",
    "tracker": "tracker", "model.fuser": "fuser", "predicted_by": "criterion",
}  # fmt: skip
"""Kind by the field of a trial."""


def plugins_of(sweep: Sweep) -> list[tuple[str, str]]:
    """Kind and name of each class that the sweep names by an import path or an entry point."""
    trial = sweep.trial
    parts: list[Any] = [
        trial.task, trial.model, trial.criterion, sweep.predicted_by, trial.train, trial.val,
        trial.tracker, getattr(trial.model, "fuser", None), *trial.own_metrics,
    ]  # fmt: skip
    found = [(kind_of(part), part.name) for part in parts if part is not None and kind_of(part)]
    for field, dimension in sweep.space.items():
        for choice in dimension.choices if isinstance(dimension, Choices) else ():
            if field == "model" and isinstance(choice, dict):
                inside = choice.get("fuser")
                named = inside.get("name") if isinstance(inside, dict) else inside
                if isinstance(named, str) and _is_own("fuser", named):
                    found.append(("fuser", named))
            name = choice.get("name") if isinstance(choice, dict) else choice
            if field in FIELDS and isinstance(name, str) and _is_own(FIELDS[field], name):
                found.append((FIELDS[field], name))
    return [(str(kind), name) for kind, name in dict.fromkeys(found)]


@contextmanager
def launch_folder_seen(sweep: Sweep) -> Iterator[None]:
    """Processes that are started meanwhile see the folder that the sweep was launched in first, as
    a script would, then `code`, then PYTHONPATH.
    """
    before = os.environ.get("PYTHONPATH")
    if plugins_of(sweep):
        paths = [home(), *code_paths(sweep.code), *(before or "").split(os.pathsep)]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(p for p in paths if p))
    try:
        yield
    finally:
        if before is not None:
            os.environ["PYTHONPATH"] = before
        else:
            os.environ.pop("PYTHONPATH", None)


def environment_of(sweep: Sweep) -> dict[str, Any]:
    """Ray's runtime environment for the sweep's workers on a cluster: `code` goes along."""
    if not plugins_of(sweep):
        return {}
    if not sweep.code:
        print(
            "code: none given, so the cluster's nodes must have the packages of "
            f"{', '.join(name for _, name in plugins_of(sweep))} installed; code: [FOLDER] takes "
            "folders along", file=sys.stderr, flush=True,
        )  # fmt: skip
        return {}
    return {"py_modules": packages_in(sweep.code), "excludes": [f"**/{n}" for n in IGNORED]}


def packages_in(folders: list[str]) -> list[str]:
    """Each folder that is a package, and the packages in one that is none. InputError for a folder
    without any.
    """
    found = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"code: value {str(folder)!r} is no folder; allowed: folders of code")
        if (folder / "__init__.py").is_file():
            found.append(str(folder))
            continue
        inside = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name not in IGNORED]
        packages = [str(p) for p in inside if any(p.glob("*.py"))]
        if not packages:
            raise InputError(
                f"code: value {str(folder)!r} holds no package; allowed: a package, or a folder of "
                "packages (a module alone does not go along)"
            )
        found += packages
    return found


def require_on_workers(sweep: Sweep) -> None:
    """InputError, within seconds, where a worker cannot import what the sweep names."""
    names = plugins_of(sweep)
    if not names:
        return
    import ray

    answer = ray.get(ray.remote(num_cpus=0)(_imported).remote(names))
    if answer is not None:
        raise InputError(
            f"on a worker: {answer}; allowed: code: [FOLDER] in the sweep file, or the package "
            "installed on every node"
        )


def hash_of_code(sweep: Sweep) -> dict[str, Any] | None:
    """The names of one's own and the SHA-256 of the Python files that they come from: those of
    `code`, else the modules with all that they import of their own code base. None where nothing
    is named.
    """
    names = plugins_of(sweep)
    if not names:
        return None
    summed = hashlib.sha256()
    for root, file in _files(sweep, names):
        summed.update(f"{file.relative_to(root)}\0".encode())
        summed.update(file.read_bytes())
    return {"names": [name for _, name in names], "sha256": summed.hexdigest()}


def say_if_changed(before: dict[str, Any] | None, now: dict[str, Any] | None) -> None:
    """One line on stderr where a sweep goes on with other code than it was launched with."""
    if before is None or now is None or before["sha256"] == now["sha256"]:
        return
    print(
        f"code: {', '.join(now['names'])} changed since the sweep was launched (SHA-256 "
        f"{before['sha256'][:12]}, now {now['sha256'][:12]}); trials from here on run the new code",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def _is_own(kind: str, name: str) -> bool:
    return ":" in name or name in entry_points(KINDS[kind])


def _imported(names: list[tuple[str, str]]) -> str | None:
    """Why this process cannot import one of them."""
    for kind, name in names:
        try:
            plugin_class(kind, name)
        except Exception as error:
            return one_line(error)
    return None


def _files(sweep: Sweep, names: list[tuple[str, str]]) -> Iterator[tuple[Path, Path]]:
    """Root and file of all code that counts."""
    for root in map(Path, sweep.code):
        for file in sorted(root.rglob("*.py")):
            if not set(file.relative_to(root).parts) & set(IGNORED):
                yield root, file
    for kind, name in [] if sweep.code else names:
        own = plugin_class(kind, name).__mro__[1].__module__
        top = sys.modules[own.partition(".")[0]]
        places = list(getattr(top, "__path__", [])) or [top.__file__]
        root = Path(str(places[0])).parent
        installed = {"site-packages", "dist-packages"} & set(root.parts)
        for file in imported_files(own, root, own.partition(".")[0] if installed else None):
            yield root, file
