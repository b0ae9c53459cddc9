"""Which code a sweep names, where it is, and whether it changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver import own_code
from sparsefront.search.driver.imported_files import imported_files

SMALLEST = "tests.helpers.own_task:Smallest"
FUSER = "tests.helpers.own_model:MeanFuser"


def test_named_classes_are_found_in_the_trial_and_among_choices(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    assert own_code.plugins_of(read_sweep(write_yaml(sweep_data))) == []
    assert own_code.hash_of_code(read_sweep(write_yaml(sweep_data))) is None
    sweep_data["trial"]["criterion"] = {"name": SMALLEST}
    sweep_data["space"]["model.fuser"] = {"choices": ["concat", FUSER]}
    sweep = read_sweep(write_yaml(sweep_data))
    assert own_code.plugins_of(sweep) == [("criterion", SMALLEST), ("fuser", FUSER)]


def test_folders_of_code(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").touch()
    (tmp_path / "runs").mkdir()
    assert own_code.packages_in([str(package)]) == [str(package)]
    assert own_code.packages_in([str(tmp_path)]) == [str(package)]
    for wrong, said in (("nowhere", "is no folder"), ("runs", "holds no package")):
        with pytest.raises(InputError, match=said):
            own_code.packages_in([str(tmp_path / wrong)])


def test_a_change_of_the_code_is_said_once(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / "part.py"
    file.write_text("x = 1\n")
    sweep_data["trial"]["criterion"] = {"name": SMALLEST}
    sweep_data["code"] = [str(tmp_path / "code")]
    sweep = read_sweep(write_yaml(sweep_data))
    before = own_code.hash_of_code(sweep)
    own_code.say_if_changed(before, own_code.hash_of_code(sweep))
    own_code.say_if_changed(None, before)
    assert capsys.readouterr().err == ""
    file.write_text("x = 2\n")
    own_code.say_if_changed(before, own_code.hash_of_code(sweep))
    assert f"code: {SMALLEST} changed since the sweep was launched" in capsys.readouterr().err


def test_imports_are_followed_inside_of_the_code_base(tmp_path: Path) -> None:
    """Of packages their __init__, relative ones too; not what is installed, not what is unused."""
    for name, text in {
        "task.py": "import torch\nfrom models.net import Net\nfrom utils import losses\n",
        "models/__init__.py": "",
        "models/net.py": "from .parts import block\nfrom . import other\n",
        "models/parts.py": "import json\n",
        "models/other.py": "from ..task import x\n",
        "utils/__init__.py": "",
        "utils/losses.py": "def f():\n    import utils.late\n",
        "utils/late.py": "",
        "unused.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = [str(file.relative_to(tmp_path)) for file in imported_files("task", tmp_path)]
    assert found == [
        "models/__init__.py", "models/net.py", "models/other.py", "models/parts.py", "task.py",
        "utils/__init__.py", "utils/late.py", "utils/losses.py",
    ]  # fmt: skip
