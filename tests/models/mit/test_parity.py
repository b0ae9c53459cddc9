"""The published detector against stored outputs of the original modules, on one real keyframe.

Skipped where the stored outputs are not at hand (SPARSEFRONT_REFERENCE).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sparsefront.models.checkpoint import published_file
from sparsefront.models.checkpoint.dialect import published_entries
from sparsefront.models.checkpoint.dialects import MIT
from sparsefront.models.checkpoint.rule import weights_by_rule
from sparsefront.models.mit.catalogue import FusionDetectorMIT
from sparsefront.models.mit.model import MitBEVFusion
from sparsefront.models.trace import read_inputs, trace
from tests.helpers import paths

REFERENCE = paths.REFERENCE
PARITY = REFERENCE / "parity"
AFTER_POOLING = (
    "encoders.camera.vtransform.bev_pool", "encoders.camera.vtransform.downsample", "fuser",
    "decoder.", "heads.object.shared_conv", "heads.object.heatmap_head",
    "heads.object.out.dense_heatmap",
)  # fmt: skip

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PARITY.is_dir(), reason="no stored outputs here"),
]


def test_every_stage_equals_the_published_model() -> None:
    """Within the stored tolerance (ten times float32's own noise). About 10 of two million lifted
    points lie within one rounding of a cell's border, so after pooling up to 2 % of the elements
    may be off, by at most 5e-3 of the largest.
    """
    model = MitBEVFusion(FusionDetectorMIT())
    published_file.load_into(model, MIT, weights_by_rule(published_entries(model, MIT)), "rule")
    found = trace(model, read_inputs(PARITY / "inputs.npz"))
    stored = np.load(PARITY / "expected_det.npz")
    stages = json.loads((PARITY / "expected_det.json").read_text())["stages"]
    checked = 0
    for name, stage in stages.items():
        if name.startswith(("grad.", "extra.", "loss.")):
            continue
        check(name, stage, stored, found)
        checked += 1
    assert checked > 75
    losses = {"heatmap": 31.0623, "class": 0.97841}
    for name, wanted in losses.items():
        assert float(found[f"loss.{name}|full"]) == pytest.approx(wanted, rel=1e-4)
    assert float(found["loss.box|full"]) == pytest.approx(16.3434, rel=1e-3)  # degenerate matching


def check(name: str, stage: dict[str, Any], stored: Any, found: Any) -> None:
    array = found[f"{name}|full"]
    assert list(array.shape) == stage["shape"], name
    if stage.get("sparse"):
        assert np.array_equal(found[f"{name}|sites"], stored[stage["sites"]]), name
    if f"{name}|idx" in stored.files:
        array, wanted = array.reshape(-1)[stored[f"{name}|idx"]], stored[f"{name}|val"]
    elif f"{name}|full" in stored.files:
        wanted = stored[f"{name}|full"]
    else:
        wanted = np.zeros(array.size, np.float32)
        wanted[stored[f"{name}|nz_idx"]] = stored[f"{name}|nz_val"]
        wanted = wanted.reshape(array.shape)
    if wanted.dtype.kind in "iub":
        assert (array != wanted).mean() < 1e-4, name
        return
    off = np.abs(array.astype(np.float64) - wanted)
    if name.startswith(AFTER_POOLING):
        assert (off > stage["atol"]).mean() < 0.02, name
        assert off.max() < 5e-3 * max(np.abs(wanted).max(), 1), name
    else:
        assert off.max() <= stage.get("atol", 1e-5), name
