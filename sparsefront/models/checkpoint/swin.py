"""Loads pretrained Swin backbones as they are published: official or mmdetection's names, with or
without wrappers and prefixes, with or without parts of a detector around them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.checkpoint.dialect import FIXED, Dialect

OFFICIAL = Dialect(
    names=(
        (r"patch_embed\.projection\.", "patch_embed.proj."),
        (r"^stages\.", "layers."),
        (r"\.attn\.w_msa\.", ".attn."),
        (r"ffn\.layers\.0\.0\.", "mlp.fc1."),
        (r"ffn\.layers\.1\.", "mlp.fc2."),
    ),
    swin="official",
)
"""The authors' own names; patch merging by neighbour."""

MMDETECTION = Dialect(names=())
"""Our names."""

OUTPUT_NORM = re.compile(r"^norm\d\.")


def load_swin(backbone: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> int:
    """Copies a pretrained backbone into a Swin; returns the number of entries. Its output norms may
    be absent (an image classifier has one of its own), everything else has to be there. Patch
    merging of official files is permuted. InputError in one line; nothing is loaded then.
    """
    bare = {re.sub(r"^(module\.)?(backbone\.)?", "", key): value for key, value in state.items()}
    dialect = OFFICIAL if any(key.startswith("layers.") for key in bare) else MMDETECTION
    own = backbone.state_dict()
    problems, found = [], {}
    for name, tensor in own.items():
        key = dialect.their_name(name)
        if name.rpartition(".")[2] in FIXED or (OUTPUT_NORM.match(name) and key not in bare):
            continue
        fitting = dialect.to_ours(name, bare[key], tensor.shape) if key in bare else None
        if fitting is None:
            has = f"has shape {list(bare[key].shape)}" if key in bare else "is missing"
            problems.append(f"{key} {has}, the backbone {list(tensor.shape)}")
        else:
            found[name] = fitting
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"checkpoint: {source} is no such Swin: {problems[0]}{more}")
    backbone.load_state_dict({**own, **found})
    return len(found)
