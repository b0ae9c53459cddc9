"""What the wheel and the source distribution hold."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers import paths


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git has, in another place: builds write beside what they read."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=paths.CHECKOUT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    subprocess.run(
        ["tar", "--create", "--null", "--files-from=-", "--file", folder / "files.tar"],
        cwd=paths.CHECKOUT, input=listed, check=False, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    subprocess.run(["tar", "--extract", "--file", "files.tar"], cwd=folder, check=True)
    (folder / "files.tar").unlink()
    return folder


@pytest.mark.long
def test_wheel_holds_the_package_alone(source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sparsefront"}
    assert "sparsefront/py.typed" in names
    assert "sparsefront/search/reports/pages/page.js" in names
    assert max(Counter(names).values()) == 1
    tracked = {
        file.relative_to(source).as_posix()
        for file in (source / "sparsefront").rglob("*")
        if file.is_file()
    }
    assert {name for name in names if name.startswith("sparsefront/")} == tracked


@pytest.mark.long
def test_source_distribution_holds_each_file_once(source: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; os.chdir(sys.argv[1]); import hatchling.build; "
        "print(hatchling.build.build_sdist(sys.argv[2]))"
    )
    pytest.importorskip("hatchling")
    subprocess.run([sys.executable, "-c", code, source, tmp_path], check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = [Path(*Path(name).parts[1:]).as_posix() for name in files.getnames()]
    assert max(Counter(names).values()) == 1
    for link in ("search", "models", "pruning", "scenes"):
        assert not [name for name in names if name == link or name.startswith(f"{link}/")]
    assert "sparsefront/search/driver/sweep.py" in names
