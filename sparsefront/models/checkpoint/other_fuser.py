"""Converts a checkpoint for a model with another fuser; everything else stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.fuser import (
    PREFIX,
    AddFuser,
    ConcatConv,
    ConvFuser,
    Fuser,
    FuserKind,
    GatedFuser,
    kind_of,
)


def convert_fuser(
    model: nn.Module, state: Mapping[str, Tensor], source: str | Path
) -> Mapping[str, Tensor]:
    """Converts the checkpoint's concat fuser to the model's kind where that is another one. Nothing
    in it is random; `store.load_into` checks whether the rest fits.
    InputError for a checkpoint whose own fuser is neither concat nor of the model's kind.
    """
    fuser = fuser_of(model)
    given = entries_below(PREFIX, state)
    if fuser is None and given:
        return _into_own(model, state, given)
    if fuser is None or not given:
        return state
    wanted, found = kind_of(fuser.state_dict()), kind_of(given)
    if wanted == found:
        return state
    if found != "concat" or isinstance(fuser, (ConvFuser, ConcatConv)):
        raise InputError(
            f"model.fuser: value {wanted!r}, but checkpoint {source} was trained with {found!r}; "
            f"allowed for it: {found}"
        )
    others = {name: tensor for name, tensor in state.items() if not name.startswith(PREFIX)}
    return {**others, **{PREFIX + k: v for k, v in fuser.from_concat(given).items()}}


def _into_own(
    model: nn.Module, state: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """For a fuser of one's own that says how it starts from a concat."""
    own = getattr(getattr(model, "fusion", None), "fuser", None)
    convert = getattr(own, "from_concat", None)
    if own is None or convert is None or set(own.state_dict()) == set(given):
        return state
    others = {name: tensor for name, tensor in state.items() if not name.startswith(PREFIX)}
    return {**others, **{PREFIX + k: v for k, v in convert(given).items()}}


def fuser_of(model: nn.Module) -> Fuser | None:
    """The model's fuser, where it is one that can be chosen."""
    found = getattr(getattr(model, "fusion", None), "fuser", None)
    kinds = (ConvFuser, ConcatConv, AddFuser, GatedFuser)
    return found if isinstance(found, kinds) else None


def trained_fuser(state: Mapping[str, Tensor]) -> FuserKind:
    """The kind that a checkpoint was trained with."""
    return kind_of(entries_below(PREFIX, state))


def entries_below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries whose names begin with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
