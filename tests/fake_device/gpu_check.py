"""`python -m tests.fake_device.gpu_check`: `make gpu-check` on the stand-in."""

from __future__ import annotations

import os
import sys

os.environ["SPARSEFRONT_STAND_IN"] = "1"

if __name__ == "__main__":
    import tests.fake_device.conftest  # noqa: F401  # registers it, before anything of the package
    from benchmarks.gpu_check import main

    sys.exit(main())
