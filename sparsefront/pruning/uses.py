"""How often a forward pass uses each weight element: hooks on every layer that multiplies.

Conv, Linear      every element once per output position; transposed conv: per input position
spconv            per kernel offset, by the rulebook's pair count
attention         projections by rows; the two products (QK^T, AV) as a fixed number of MACs
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.overrides import TorchFunctionMode

from sparsefront.pruning.pairs import pairs_per_offset
from sparsefront.pruning.weights import is_sparse_convolution, weight_fields

PRODUCTS = {
    torch.matmul, torch.bmm, torch.mm, torch.einsum, torch.baddbmm, torch.addmm,
    Tensor.matmul, Tensor.bmm, Tensor.mm, Tensor.__matmul__, functional.linear,
    functional.conv1d, functional.conv2d, functional.conv3d,
}  # fmt: skip
"""Multiplications: outside a layer they belong to no weight, so `not_counted` names them."""


@dataclass(frozen=True)
class LayerUses:
    """Uses of the elements of one weight in one frame.

    shape     of the weight
    uses      float64, broadcastable to the weight
    products  MACs that need no weight (attention's two products), never pruned
    """

    shape: tuple[int, ...]
    uses: Tensor
    products: float = 0.0

    def macs(self, kept: Tensor | None) -> float:
        """MACs of one frame with the kept elements (bool, like the weight), or all of them."""
        if kept is None:
            each = prod(self.shape) // self.uses.numel()
            return float(self.uses.sum()) * each + self.products
        shared = [axis for axis, size in enumerate(self.uses.shape) if size == 1]
        counts = kept.sum(dim=shared, keepdim=True) if shared else kept.to(torch.int64)
        return float((counts.cpu().double() * self.uses).sum()) + self.products


class UseCounter(TorchFunctionMode):
    """While entered, counts the uses of a model's weights over all forward passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self._names = {module: name for name, module in model.named_modules()}
        self._totals: dict[str, LayerUses] = {}
        self._stack: list[nn.Module] = []
        self._uncounted: set[str] = set()
        self._handles: list[Any] = []

    def __enter__(self) -> UseCounter:
        for module in self._model.modules():
            self._handles.append(module.register_forward_pre_hook(self._enter))
            self._handles.append(module.register_forward_hook(self._leave, with_kwargs=True))
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Counts scaled_dot_product_attention; names products that no layer accounts for."""
        result = function(*args, **(kwargs or {}))
        if self._stack and not weight_fields(self._stack[-1]):
            where = self._names[self._stack[-1]] or type(self._model).__name__
            if function is functional.scaled_dot_product_attention:
                query, key, value = args[:3]
                self._add_products(query, key, value)
            elif function in PRODUCTS:
                self._uncounted.add(f"{function.__name__} in {where}")
        return result

    def uses_of(self, name: str, weight: Tensor, frames: int) -> LayerUses:
        """The average of one weight over the frames; zero for a layer that never ran."""
        total = self._totals.get(name)
        if total is None:
            return LayerUses(tuple(weight.shape), torch.zeros([1] * weight.ndim).double())
        return replace(total, uses=total.uses / frames, products=total.products / frames)

    def not_counted(self) -> tuple[str, ...]:
        """What counts as zero MACs: kinds of layers without multiplied weights, bare products."""
        kinds = {
            type(module).__name__
            for module in self._model.modules()
            if not list(module.children()) and not weight_fields(module)
        }
        general = ["gather and scatter", "pooling to BEV", "voxelisation", "biases"]
        return (*general, *sorted(kinds), *sorted(self._uncounted))

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._stack.append(module)

    def _leave(self, module: nn.Module, inputs: Any, kwargs: Any, output: Any) -> None:
        self._stack.pop()
        prefix = f"{self._names[module]}." if self._names[module] else ""
        if isinstance(module, nn.MultiheadAttention):
            self._count_attention(module, prefix, inputs, kwargs)
        elif is_sparse_convolution(module):
            self._add(f"{prefix}weight", _weight(module), _sparse(module, inputs[0]))
        elif isinstance(module, _ConvTransposeNd):
            positions = inputs[0].shape[2:].numel() * _frames(inputs[0], module.weight.ndim)
            self._add(f"{prefix}weight", module.weight, _once(module.weight, positions))
        elif isinstance(module, _ConvNd):
            positions = output.shape[-module.weight.ndim + 2 :].numel()
            positions *= _frames(output, module.weight.ndim)
            self._add(f"{prefix}weight", module.weight, _once(module.weight, positions))
        elif isinstance(module, nn.Linear):
            rows = output.numel() // module.out_features
            self._add(f"{prefix}weight", module.weight, _once(module.weight, rows))

    def _count_attention(
        self, module: nn.MultiheadAttention, prefix: str, inputs: Any, kwargs: Any
    ) -> None:
        given = dict(zip(("query", "key", "value"), inputs, strict=False)) | kwargs
        query, key, value = (given[part] for part in ("query", "key", "value"))
        width = module.embed_dim
        rows = [query.numel() // width, key.numel() // module.kdim, value.numel() // module.vdim]
        if module.in_proj_weight is not None:
            uses = torch.tensor(rows).double().repeat_interleave(width).unsqueeze(1)
            self._add(f"{prefix}in_proj_weight", module.in_proj_weight, uses)
        else:
            for part, count in zip("qkv", rows, strict=True):
                weight = getattr(module, f"{part}_proj_weight")
                self._add(f"{prefix}{part}_proj_weight", weight, _once(weight, count))
        out = module.out_proj.weight
        products = 2.0 * rows[0] * _length(key, module.batch_first) * width
        self._add(f"{prefix}out_proj.weight", out, _once(out, rows[0]), products)

    def _add(self, name: str, weight: Tensor, uses: Tensor, products: float = 0.0) -> None:
        old = self._totals.get(name)
        if old is not None:
            uses, products = old.uses + uses, old.products + products
        self._totals[name] = LayerUses(tuple(weight.shape), uses, products)

    def _add_products(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        """QK^T and AV, booked on the first weight of the module that asks for them."""
        macs = (
            query.numel() * key.shape[-2]
            + query.shape[:-1].numel() * key.shape[-2] * (value.shape[-1])
        )
        owner = self._stack[-1]
        where = self._names[owner]
        for name, module in owner.named_modules():
            for field in weight_fields(module):
                weight = getattr(module, field)
                full = ".".join(part for part in (where, name, field) if part)
                self._add(full, weight, torch.zeros([1] * weight.ndim).double(), float(macs))
                return
        self._uncounted.add(f"scaled_dot_product_attention in {where or type(owner).__name__}")


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def _once(weight: Tensor, positions: int) -> Tensor:
    return torch.full([1] * weight.ndim, float(positions), dtype=torch.float64)


def _sparse(module: Any, x: Any) -> Tensor:
    """Uses [1, k0, k1, k2, 1] of an spconv weight [out, k0, k1, k2, in]."""
    pairs = pairs_per_offset(module, x.indices, tuple(x.spatial_shape)).double()
    return pairs.reshape(1, *pairs.shape, 1)


def _frames(x: Tensor, weight_ndim: int) -> int:
    return x.shape[0] if x.ndim == weight_ndim else 1


def _length(key: Tensor, batch_first: bool) -> int:
    if key.ndim == 2:
        return key.shape[0]
    return key.shape[1] if batch_first else key.shape[0]
