"""The stand-in stays registered for the whole process, and torch then takes it for its accelerator:
these tests run by themselves, `SPARSEFRONT_STAND_IN=1 pytest tests/fake_device` (`make test`).
"""

from __future__ import annotations

import os

from tests.fake_device import accelerator

collect_ignore_glob = []
if not os.environ.get("SPARSEFRONT_STAND_IN"):
    collect_ignore_glob = ["test_*.py"]
elif reason := accelerator.missing():
    collect_ignore_glob = ["test_*.py"]
    print(f"the stand-in accelerator is not tested: {reason}")
else:
    from tests.fake_device import spconv_kernels

    native = accelerator.register()
    spconv_kernels.before_spconv()
    from sparsefront.models.lidar import sparse_conv  # noqa: F401  # spconv, quietly

    spconv_kernels.install()
