"""The pruned model in one's own code: `python use.py FOLDER`."""

from __future__ import annotations

import sys

import torch
from datasets.objects import KINDS, drawn

import sparsefront


def main(folder: str) -> None:
    model = sparsefront.load_export(folder).model()
    data = drawn("val", 500)
    with torch.no_grad():
        scores, distance = model(data["image"][:5], data["radar"][:5])
    for name, kind, metres in zip(data["name"], scores.argmax(1), distance, strict=False):
        print(f"{name}: {KINDS[int(kind)]} at {float(metres):.1f} m")


if __name__ == "__main__":
    main(sys.argv[1])
