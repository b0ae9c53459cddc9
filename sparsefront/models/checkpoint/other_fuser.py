"""A checkpoint for a model that fuses otherwise: all but the fuser is the checkpoint's own."""

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


def for_fuser_of(
    model: nn.Module, state: Mapping[str, Tensor], source: str | Path
) -> Mapping[str, Tensor]:
    """The state with a fuser of the model's kind, made from the checkpoint's concat where that is
    another one. Nothing in it is random; whether the rest fits is for `store.load_into` to say.
    InputError for a checkpoint whose own fuser is neither concat nor of the model's kind.
    """
    fuser = fuser_of(model)
    given = below(PREFIX, state)
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


def fuser_of(model: nn.Module) -> Fuser | None:
    """The model's fuser, where it is one that can be chosen."""
    found = getattr(getattr(model, "fusion", None), "fuser", None)
    kinds = (ConvFuser, ConcatConv, AddFuser, GatedFuser)
    return found if isinstance(found, kinds) else None


def trained_fuser(state: Mapping[str, Tensor]) -> FuserKind:
    """The kind that a checkpoint was trained with."""
    return kind_of(below(PREFIX, state))


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
