"""Where the checkout is, and data that tests use where they are there."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples"
DATA = Path(os.environ.get("SPARSEFRONT_TEST_DATA", CHECKOUT.parent / "shared" / "data"))
"""Real nuScenes and KITTI frames."""
REFERENCE = Path(os.environ.get("SPARSEFRONT_REFERENCE", CHECKOUT.parent / "shared" / "reference"))
"""Outputs of the published implementations."""
