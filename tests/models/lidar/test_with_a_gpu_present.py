"""Where a GPU is present what computes on the CPU does so, and spconv's arrays are NumPy's."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("code", [
    "import torch; torch.cuda.is_available = lambda: True\n"
    "from sparsefront.search.cli.main import main\n"
    "assert main(['cost', '--model', 'bevfusion-small']) == 0",
    "import numpy, cumm.tensorview as tv; tv.from_numpy(numpy.zeros(3, 'float32'))",
], ids=["cost on the CPU", "cumm under this NumPy"])  # fmt: skip
def test_process_ends_well(code: str) -> None:
    """In a process of its own: a wrong NumPy ends it by a signal, and CUDA's answer is played."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
