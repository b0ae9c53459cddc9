"""The LiDAR backbone as a graph of sparse convolutions, batch norms folded and ReLUs fused.

The nodes are those that NVIDIA's libspconv reads (Lidar_AI_Solution, 3DSparseConvolution): it goes
by a node's operator, not by its domain, so a domain of their own keeps the file valid ONNX. Node by
node: docs/export.md. Axes are x, y, z in this order.

Shape legend: V voxels, C channels, k kernel, X x Y x Z sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models import FusionModel
from sparsefront.models.bevfusion import SmallBEVFusion
from sparsefront.models.lidar.second import SecondEncoder, SparseBlock
from sparsefront.models.lidar.sparse_encoder import INTENSITY_SCALE, SparseEncoder
from sparsefront.models.mit.model import MitBEVFusion

DOMAIN = "nv.spconv"
FILE = "lidar.backbone.xyz.onnx"
RELU, NONE = "ReLU", "None"
OUTPUT_BOUND = 200_000
"""Sites that a layer may have at most; what NVIDIA's exporter writes."""
LARGEST = 65504.0
Triple = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A sparse convolution with its batch norm: weight [C_out, kx, ky, kz, C_in], bias [C_out]."""

    weight: Tensor
    bias: Tensor
    stride: Triple
    padding: Triple
    subm: bool
    rulebook: str


def sparse_encoder(model: FusionModel) -> SparseEncoder | SecondEncoder | None:
    """The model's backbone of sparse convolutions; None where it has none."""
    if isinstance(model, SmallBEVFusion):
        return model.lidar.encoder
    if isinstance(model, MitBEVFusion) and "lidar" in model.sensors:
        backbone = model.stream("lidar").backbone
        return backbone if isinstance(backbone, SecondEncoder) else None
    return None


def write_sparse_onnx(encoder: SparseEncoder | SecondEncoder, path: Path) -> dict[str, Any]:
    """Writes the graph, checked by onnx.checker; its input and output shapes. InputError where a
    folded weight is too large for float16.
    """
    import onnx

    model = _Graph(encoder).model()
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return {
        "inputs": {"0": ["voxels", _channels_in(encoder)]},
        "outputs": {model.graph.output[0].name: _dims(model.graph.output[0])},
        "nodes": len(model.graph.node),
    }


def fold(convolution: Any, norm: nn.BatchNorm1d, scale: Tensor | None = None) -> Folded:
    """y = norm(convolution(scale x)) as one convolution with a bias."""
    assert norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = convolution.weight.detach().double() * factor.view(-1, 1, 1, 1, 1)
    if scale is not None:
        weight = weight * scale.double()
    bias = norm.bias.double() - norm.running_mean.double() * factor
    return Folded(
        weight=weight.detach(),
        bias=bias.detach(),
        stride=_triple(convolution.stride),
        padding=_triple(convolution.padding),
        subm=bool(convolution.subm),
        rulebook=str(convolution.indice_key),
    )


class _Graph:
    """Nodes as the encoder's modules are walked; tensors are named by number, the input 0."""

    def __init__(self, encoder: SparseEncoder | SecondEncoder) -> None:
        self.encoder = encoder
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.tensors = 1
        self.shape: Triple = _triple(encoder.shape)
        self.scale: Tensor | None = None
        if isinstance(encoder, SparseEncoder):  # its scaling of the input is linear too
            side = encoder.grid.half_side_m
            self.scale = torch.tensor([1 / side, 1 / side, 1.0, 1 / INTENSITY_SCALE, 1.0])

    def model(self) -> Any:
        from onnx import TensorProto, helper

        x = "0"
        for module in _in_order(self.encoder):
            x = self.module(module, x)
        channels = int(self.weights[-1].dims[0])
        output, shape = self.dense(x, channels)
        half = TensorProto.FLOAT16
        graph = helper.make_graph(
            self.nodes, "scn",
            [helper.make_tensor_value_info("0", half, ["voxels", _channels_in(self.encoder)])],
            [helper.make_tensor_value_info(output, half, shape)],
            self.weights,
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=8, producer_name="sparsefront"
        )

    def module(self, module: Any, x: str) -> str:
        """The output's name of a convolution with norm and ReLU, a block, or a sequence of such."""
        if isinstance(module, SparseBlock):
            inner = self.convolution(fold(module.conv1, module.bn1), x, RELU)
            inner = self.convolution(fold(module.conv2, module.bn2), inner, NONE)
            return self.node("Relu", [self.node("Add", [inner, x])])
        first = next(iter(module.children()))
        if not hasattr(first, "subm"):
            for child in module.children():
                x = self.module(child, x)
            return x
        convolution, norm, _ = module.children()
        scale, self.scale = self.scale, None
        return self.convolution(fold(convolution, norm, scale), x, RELU)

    def convolution(self, folded: Folded, x: str, activation: str) -> str:
        number = sum(node.op_type == "SparseConvolution" for node in self.nodes)
        name = f"spconv{number}"
        kernel = _triple(folded.weight.shape[1:4])
        before = self.shape
        if not folded.subm:
            self.shape = _shrunk(before, kernel, folded)
        inputs = [
            x,
            self.weight(f"{name}.weight", folded.weight),
            self.weight(f"{name}.bias", folded.bias),
        ]
        largest = folded.weight.half().float().abs().flatten(1).amax(1).tolist()
        return self.node(
            "SparseConvolution", inputs,
            ndim=3, in_channels=folded.weight.shape[4], out_channels=folded.weight.shape[0],
            kernel_size=kernel, stride=folded.stride, padding=folded.padding, dilation=(1, 1, 1),
            output_padding=(0, 0, 0), groups=1, transposed=0, inverse=0, subm=int(folded.subm),
            rulebook=folded.rulebook, activation=activation, precision="fp16",
            output_precision="fp16", weight_dynamic_ranges=largest, output_bound=OUTPUT_BOUND,
            input_spatial_shape=before, output_spatial_shape=self.shape,
        )  # fmt: skip

    def dense(self, x: str, channels: int) -> tuple[str, list[int]]:
        """Sites to a map: channel c at height z is channel c Z + z of [1, C Z, X, Y]."""
        cells_x, cells_y, heights = self.shape
        grid = [1, channels, cells_x, cells_y, heights]
        x = self.node(
            "ScatterDense", [x], input_spatial_shape=self.shape, format="xyz", output_shape=grid
        )
        x = self.node("Transpose", [x], dims=(0, 1, 4, 2, 3))
        shape = [1, channels * heights, cells_x, cells_y]
        return self.node("Reshape", [x], dims=shape), shape

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        output = str(self.tensors)
        self.tensors += 1
        count = sum(node.op_type == operator for node in self.nodes)
        short = {"SparseConvolution": "conv", "ScatterDense": "scatter"}
        name = f"{short.get(operator, operator.lower())}{count}"
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name, domain=DOMAIN, **attributes)
        )
        return output

    def weight(self, name: str, tensor: Tensor) -> str:
        from onnx import numpy_helper

        if float(tensor.abs().max()) > LARGEST:
            raise InputError(f"{FILE}: {name} is {float(tensor.abs().max()):.3g}, above float16's")
        self.weights.append(numpy_helper.from_array(tensor.half().contiguous().numpy(), name))
        return name


def _in_order(encoder: SparseEncoder | SecondEncoder) -> list[Any]:
    if isinstance(encoder, SecondEncoder):
        return [encoder.conv_input, *encoder.encoder_layers.children(), encoder.conv_out]
    return [
        encoder.conv_input, encoder.stage1, encoder.down1, encoder.stage2, encoder.down2,
        encoder.stage3, encoder.conv_out,
    ]  # fmt: skip


def _channels_in(encoder: SparseEncoder | SecondEncoder) -> int:
    first: Any = encoder.conv_input
    return int(first[0].weight.shape[4])


def _shrunk(shape: Triple, kernel: Triple, folded: Folded) -> Triple:
    axes = zip(shape, kernel, folded.stride, folded.padding, strict=True)
    return _triple([(n + 2 * p - k) // s + 1 for n, k, s, p in axes])


def _triple(values: Any) -> Triple:
    x, y, z = (int(v) for v in values)
    return x, y, z


def _dims(value: Any) -> list[int]:
    return [d.dim_value for d in value.type.tensor_type.shape.dim]
