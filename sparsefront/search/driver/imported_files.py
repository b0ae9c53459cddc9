"""The files of a code base that a module of it imports, found without running anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def imported_files(module: str, root: Path, within: str | None = None) -> list[Path]:
    """The module's own file and, of what it imports at any depth, those below `root`, sorted; of
    the top-level package `within` alone, where that is given. What lies elsewhere (installed
    packages), and imports by computed names, are not followed.
    """
    found: set[Path] = set()
    left = [module]
    seen: set[str] = set()
    while left:
        name = left.pop()
        if name in seen or within not in (None, name.partition(".")[0]):
            continue
        seen.add(name)
        file = _file_of(name, root)
        if file is None:
            continue
        found.add(file)
        left += _imports(name, file)
        left += [name.rpartition(".")[0]] if "." in name else []  # its package's __init__
    return sorted(found)


def _file_of(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    places = (path.with_suffix(".py"), path / "__init__.py") if module else ()
    return next((place for place in places if place.is_file()), None)


def _imports(module: str, file: Path) -> Iterator[str]:
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # of another Python version, in a branch that is never imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
