"""The channel graph of a model: which slices of which tensors make up one removable channel.

Found by running the model once with a label for every element of every activation, so residual
streams, concatenations, reshapes, window partitions and sparse-to-dense scatters need no rules of
their own: whatever moves an element moves its label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparsefront.pruning.channels.flow import Flow
from sparsefront.pruning.channels.labels import PINNED, Ties
from sparsefront.pruning.channels.layers import rule_of
from sparsefront.pruning.forward import Forward, call
from sparsefront.pruning.preserved import kept_modes

STAYS = -1
"""The unit of a position that cannot be removed."""


@dataclass(frozen=True)
class ChannelGraph:
    """axes: parameter or buffer name -> axis -> unit of each position, STAYS for what cannot go.
    made_by: weights whose filters make each unit; the first one decides its sparsity group.
    """

    axes: Mapping[str, Mapping[int, Tensor]]
    made_by: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.made_by)


def channel_graph(model: nn.Module, batch: Any, forward: Forward = call) -> ChannelGraph:
    """Runs forward(model, batch) once in eval mode; the model is left as it was.

    Layers that are known: convolutions (also depthwise), transposed convolutions, linear layers,
    BatchNorm, LayerNorm, spconv layers, window attention (whole heads). What another operation
    mixes stays whole, as does what forward returns. Names in model.unprunable() keep all their
    outputs.
    """
    with kept_modes(model), _Tracer(model) as tracer, torch.no_grad():
        tracer.flow.pin(forward(model, batch))
    return tracer.graph()


class _Tracer(TorchFunctionMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.ties = Ties()
        self.flow = Flow(self.ties)
        self._model = model
        self._names = {module: name for name, module in model.named_modules()}
        self._unprunable = frozenset(getattr(model, "unprunable", tuple)())
        self._lines: dict[tuple[str, int], Tensor] = {}
        self._made: dict[tuple[str, int], None] = {}
        self._inside = 0
        self._handles: list[Any] = []

    def __enter__(self) -> _Tracer:
        for module in self._model.modules():
            if rule_of(module) is not None:
                self._handles.append(module.register_forward_pre_hook(self._enter))
                self._handles.append(module.register_forward_hook(self._leave, with_kwargs=True))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not self._inside:
            self.flow.follow(function, args, kwargs or {}, result)
        return result

    def add_line(self, module: nn.Module, field: str, axis: int, labels: Tensor) -> None:
        """Records the channel [C] of each position along an axis of a module's own tensor."""
        name = f"{self._names[module]}.{field}" if self._names[module] else field
        old = self._lines.get((name, axis))
        if old is not None:
            self.ties.tie(old, labels)
        else:
            self._lines[name, axis] = labels

    def make_channels(self, module: nn.Module, field: str, axis: int, count: int) -> Tensor:
        """Fresh labels [count] for the channels that a weight makes along an axis; PINNED if it may
        not be pruned. A layer that runs again makes the same channels again.
        """
        name = f"{self._names[module]}.{field}" if self._names[module] else field
        if name in self._unprunable:
            return torch.full((count,), PINNED)
        if (name, axis) not in self._lines:
            self._lines[name, axis] = self.ties.new(count)
            self._made[name, axis] = None
        return self._lines[name, axis]

    def graph(self) -> ChannelGraph:
        units: dict[int, int] = {}
        makers: list[dict[str, None]] = []
        lines = {}
        for key, labels in self._lines.items():
            roots = [self.ties.root(label) for label in labels.tolist()]
            lines[key] = roots
            if key in self._made:
                for root in roots:
                    if root != PINNED:
                        if units.setdefault(root, len(units)) == len(makers):
                            makers.append({})
                        makers[units[root]][key[0]] = None
        axes: dict[str, dict[int, Tensor]] = {}
        for (name, axis), roots in lines.items():
            line = torch.tensor([units.get(root, STAYS) for root in roots])
            axes.setdefault(name, {})[axis] = line
        return ChannelGraph(axes=axes, made_by=tuple(tuple(found) for found in makers))

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._inside += 1

    def _leave(self, module: nn.Module, inputs: Any, kwargs: Any, output: Any) -> None:
        self._inside -= 1
        if self._inside == 0:
            rule = rule_of(module)
            assert rule is not None
            self._inside += 1  # the rules' own arithmetic is not the model's
            rule(self, module, (*inputs, *kwargs.values()), output)
            self._inside -= 1
