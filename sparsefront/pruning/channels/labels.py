"""Channel labels: which channel each element of an activation belongs to, and which are tied.

A label tensor is shaped like its activation. Two labels are fixed: NONE marks elements that are
zero or belong to no channel, PINNED marks data that cannot be removed (inputs, sums over channels,
positions). Every other label is a channel; channels that are added or share a norm are tied, by
union-find, into one unit that lives or dies together.
"""

from __future__ import annotations

import torch
from torch import Tensor

NONE, PINNED = 0, 1


class Ties:
    """Union-find over labels; whatever is tied to PINNED stays."""

    def __init__(self) -> None:
        self._parent = [NONE, PINNED]

    def new(self, count: int) -> Tensor:
        """`count` fresh labels [count]."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def root(self, label: int) -> int:
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label

    def tie(self, left: Tensor, right: Tensor) -> None:
        """Ties equal positions of two label tensors of one shape; NONE ties to nothing."""
        both = (left != right) & (left != NONE) & (right != NONE)
        if not both.any():
            return
        pairs = left[both] * len(self._parent) + right[both]
        for pair in pairs.unique().tolist():
            a, b = sorted(
                (self.root(pair // len(self._parent)), self.root(pair % len(self._parent)))
            )
            self._parent[b] = a  # PINNED is the smallest, so it wins

    def pin(self, labels: Tensor) -> None:
        """These channels must stay."""
        self.tie(labels, torch.full_like(labels, PINNED))

    def along(self, labels: Tensor, axis: int) -> Tensor:
        """One label a position of the axis [C]; labels that share a position are tied. A position
        without any label is PINNED.
        """
        rows = labels.movedim(axis, 0).flatten(1)
        if rows.shape[1] == 0:
            return torch.full((len(rows),), PINNED)
        highest = rows.amax(1)
        self.tie(rows, highest.unsqueeze(1).expand_as(rows))
        return torch.where(highest == NONE, PINNED, highest)


def spread(line: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
    """Labels of an activation whose channels lie along the axis."""
    view = [1] * len(shape)
    view[axis] = shape[axis]
    return line.reshape(view).expand(shape)
