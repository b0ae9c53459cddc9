"""What an import of sparsefront loads, and that no two files import each other in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.helpers import paths

PACKAGE = paths.CHECKOUT / "sparsefront"
HEAVY = ("torch", "ray", "optuna", "mlflow", "sklearn", "nuscenes", "matplotlib", "plotly")


def modules() -> dict[str, Path]:
    """Name -> file of every module of the package."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = list(file.relative_to(paths.CHECKOUT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports_of(file: Path, known: dict[str, Path]) -> set[str]:
    """Every module of ours that a file imports: also inside functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (below & known.keys()) or {node.module}
    return found & known.keys()


def test_no_two_files_import_each_other_in_a_circle() -> None:
    known = modules()
    left = {name: imports_of(file, known) - {name} for name, file in known.items()}
    assert len(left) > 300
    while True:  # take away whatever imports nothing that is left
        free = {name for name, imported in left.items() if not imported}
        if not free:
            break
        left = {name: imported - free for name, imported in left.items() if name not in free}
    assert left == {}


def test_nothing_is_imported_through_the_links() -> None:
    links = {"search", "models", "pruning", "scenes"}
    for link in links:
        assert (paths.CHECKOUT / link).is_symlink()
    for folder in ("sparsefront", "tests", "benchmarks", "examples"):
        for file in (paths.CHECKOUT / folder).rglob("*.py"):
            if "own_model" in file.parts:  # somebody else's repository, with its own models/
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [str(node.module)]
                assert not links & {name.partition(".")[0] for name in names}, file


def loaded_by(*words: str, cwd: Path) -> set[str]:
    """Top-level modules that a Python process has loaded at its end."""
    code = f"{'; '.join(words)}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_import_loads_neither_torch_nor_ray(tmp_path: Path) -> None:
    found = loaded_by("import sparsefront", "sparsefront.__version__", cwd=tmp_path)
    assert not found & {*HEAVY, "numpy", "pydantic"}


def test_every_public_name_is_there(tmp_path: Path) -> None:
    code = "import sparsefront; print([getattr(sparsefront, n) for n in sparsefront.__all__])"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_help_loads_no_heavy_package(tmp_path: Path) -> None:
    found = loaded_by("from sparsefront.search.cli.verbs import Verb", cwd=tmp_path)
    assert not found & {*HEAVY, "pydantic"}
