"""The base that the runs of a process share: its weights are loaded once and held once."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn

from bench.models.loading import load_base
from bench.models.quantization import is_quantised, over_the_same_numbers
from bench.models.settings import ModelSettings

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class _Kept:
    """A base as it was loaded, which no run ever gets in its hands."""

    what: Hashable
    model: Any
    tokenizer: Any
    bits: list[int]


_kept: list[_Kept] = []  # one at most: memory may not hold a second


def shared_base(settings: ModelSettings, content: str, device: torch.device) -> tuple[Any, Any]:
    """A base as `load_base` gives it, over weights that runs of this process have in common.

    The base asked for last is kept. Another one takes its place, and so does the same one where a
    run has written into its weights, as some of peft's initialisations do (`olora`).

    Args:
        settings: which base.
        content: the hash of what it is.
        device: where its weights are.

    Returns:
        The model, all but its weights the caller's own, and the tokenizer, which is shared.

    Raises:
        InputError: as `load_base`.
    """
    # What it is called, and how it is asked, does not make another base.
    same = {"name": "", "published": None, "prompt_style": None, "check_memory": True}
    what = (replace(settings, **same), content, device)
    if not (_kept and _kept[0].what == what and _kept[0].bits == _bits(_kept[0].model)):
        _kept.clear()  # before another is loaded
        model, tokenizer = load_base(settings, device)
        _kept.append(_Kept(what, model, tokenizer, _bits(model)))
    return over_the_weights_of(_kept[0].model), _kept[0].tokenizer


def over_the_weights_of(base: Model) -> Model:
    """A copy of a model's modules, hooks, settings and buffers over the same weights.

    Its parameters are its own, too, and share nothing but their storage: what requires a gradient,
    a gradient, or another dtype stays with the copy. Only a change in place is seen by both.
    """
    shared: dict[int, Any] = {}
    for p in base.parameters():
        if is_quantised(p):
            shared[id(p)] = over_the_same_numbers(p)
            constants = getattr(p, "quant_state", None)  # nf4's, which the layer has as well
            shared[id(constants)] = constants
        else:
            shared[id(p)] = nn.Parameter(p.detach(), p.requires_grad)
    return copy.deepcopy(base, shared)


def _bits(model: nn.Module) -> list[int]:
    """The sum of each weight's bits, read as whole numbers."""
    kinds = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = [p.data.view(kinds[p.dtype.itemsize]).sum() for p in model.parameters()]
    return torch.stack(sums).tolist() if sums else []
