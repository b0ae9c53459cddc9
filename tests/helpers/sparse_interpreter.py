"""Runs a graph of sparse convolutions as docs/export.md describes it, by dictionaries of sites: no
spconv, and nothing of the exporter.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import onnx
from onnx.helper import get_attribute_value

Site = tuple[int, ...]


def run(model: onnx.ModelProto, features: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """features [V, C] at coordinates [V, 3] = (x, y, z) -> the graph's dense output."""
    to_array = onnx.numpy_helper.to_array
    weights = {w.name: to_array(w).astype(np.float64) for w in model.graph.initializer}
    rows = zip(coordinates, features.astype(np.float64), strict=True)
    sparse = {tuple(map(int, at)): feature for at, feature in rows}
    found: dict[str, Any] = {model.graph.input[0].name: sparse}
    for node in model.graph.node:
        options = {a.name: get_attribute_value(a) for a in node.attribute}
        x, *others = node.input
        if node.op_type == "SparseConvolution":
            value: Any = convolution(found[x], weights[others[0]], weights[others[1]], options)
        elif node.op_type == "Add":
            value = {at: f + found[others[0]][at] for at, f in found[x].items()}
        elif node.op_type == "Relu":
            value = {at: np.maximum(f, 0) for at, f in found[x].items()}
        elif node.op_type == "ScatterDense":
            value = np.zeros(options["output_shape"])
            for at, f in found[x].items():
                value[(0, slice(None), *at)] = f
        elif node.op_type == "Transpose":
            value = found[x].transpose(options["dims"])
        elif node.op_type == "Reshape":
            value = found[x].reshape(options["dims"])
        else:
            raise AssertionError(node.op_type)
        found[node.output[0]] = value
    out: np.ndarray = found[model.graph.output[0].name]
    return out


def convolution(
    sites: dict[Site, np.ndarray], weight: np.ndarray, bias: np.ndarray, options: dict[str, Any]
) -> dict[Site, np.ndarray]:
    """out[o] = bias + sum over taps t of weight[:, t] in[o stride + t - padding], at the sites of
    the input (subm) or wherever a tap meets one.
    """
    stride, padding = options["stride"], options["padding"]
    shape = options["output_spatial_shape"]
    taps = list(product(*(range(k) for k in options["kernel_size"])))
    out: dict[Site, np.ndarray] = {}
    for site, feature in sites.items():
        for tap in taps:
            at = [i + p - t for i, p, t in zip(site, padding, tap, strict=True)]
            if any(a % s for a, s in zip(at, stride, strict=True)):
                continue
            to = tuple(a // s for a, s in zip(at, stride, strict=True))
            if not all(0 <= a < n for a, n in zip(to, shape, strict=True)):
                continue
            if options["subm"] and to not in sites:
                continue
            kernel = weight[(slice(None), *tap)]
            out[to] = out.get(to, bias) + kernel @ feature
    if options["activation"] == b"ReLU":
        return {at: np.maximum(f, 0) for at, f in out.items()}
    assert options["activation"] == b"None"
    return out
