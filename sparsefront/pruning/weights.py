"""Which weights can be pruned: those of convolutions, linear layers and attention."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights by name: convolutions, transposed convolutions, linear layers, attention projections
    and spconv layers, in the order of the model.

    Left out are biases, norms, and the names that `model.unprunable()` gives, where it has that
    method (such as the last layers of heads). A tensor shared by two layers appears once.
    """
    unprunable = frozenset(getattr(model, "unprunable", tuple)())
    return {name: weight for name, weight in counted_weights(model) if name not in unprunable}


def counted_weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every weight that multiplies activations, prunable or not."""
    seen: set[int] = set()
    for module_name, module in model.named_modules():
        for field in weight_fields(module):
            weight = getattr(module, field)
            if isinstance(weight, nn.Parameter) and id(weight) not in seen:
                seen.add(id(weight))
                yield f"{module_name}.{field}" if module_name else field, weight


def weight_fields(module: nn.Module) -> tuple[str, ...]:
    """The module's own attributes that hold such weights."""
    if isinstance(module, (_ConvNd, nn.Linear)) or is_sparse_convolution(module):
        return ("weight",)
    if isinstance(module, nn.MultiheadAttention):
        return ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    return ()


def is_sparse_convolution(module: nn.Module) -> bool:
    """An spconv 2 layer; told by its class's name, so that spconv need not be installed."""
    return any(
        c.__name__ == "SparseConvolution" and c.__module__.startswith("spconv.")
        for c in type(module).__mro__
    )


def filter_axis(model: nn.Module, name: str) -> int:
    """The axis of a weight along which its output channels lie: 1 for transposed convolutions."""
    owner = model.get_submodule(name.rpartition(".")[0])
    return 1 if isinstance(owner, _ConvTransposeNd) else 0
