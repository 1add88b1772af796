"""The base model that the runs of a process share: its weights are loaded and stored once."""

from __future__ import annotations

import copy
import gc
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from bench.models.loading import load_base, weight_dtype
from bench.models.quantization import is_quantised, with_shared_data
from bench.models.settings import ModelSettings

Model = TypeVar("Model", bound=nn.Module)


class _Cached(NamedTuple):
    key: Hashable
    model: Any
    tokenizer: Any
    checksums: list[int]


_kept: list[_Cached] = []  # at most one: there may be no memory for a second


def shared_base(
    settings: ModelSettings, content: str, device: torch.device, spread: bool = False
) -> tuple[Any, Any]:
    """Load a base as `load_base`, over weights that all runs of this process share.

    The last base is cached, unless it is spread over several GPUs. It is loaded again if a run has
    changed its weights in place, as some of peft's initialisations do (`olora`). `content` is the
    hash of its content.

    Returns:
        The model, whose weights alone are shared, and the tokenizer, which is shared.
    """
    if spread and device.type == "cuda":
        release()
        return load_base(settings, device, spread)
    # These do not change what is loaded.
    ignored = {"name": "", "published": None, "prompt_style": None, "check_memory": True}
    resolved = weight_dtype(settings.dtype, device)
    key = (replace(settings, **ignored, dtype="auto"), resolved, content, device)
    if not (_kept and _kept[0].key == key and _kept[0].checksums == _checksums(_kept[0].model)):
        release()  # before another is loaded
        model, tokenizer = load_base(settings, device)
        _kept.append(_Cached(key, model, tokenizer, _checksums(model)))
    return with_shared_weights(_kept[0].model), _kept[0].tokenizer


def release() -> None:
    """Free the cached base, and what models of earlier runs over it occupy."""
    _kept.clear()
    gc.collect()  # a trained model is part of reference cycles
    torch.cuda.empty_cache()


def with_shared_weights(base: Model) -> Model:
    """A copy of a model's modules, hooks, settings and buffers over the same weights.

    The parameters are new objects that share only their storage: requires_grad, gradients and a
    change of dtype are local to the copy. Changes in place affect both.
    """
    shared: dict[int, Any] = {}
    for p in base.parameters():
        if is_quantised(p):
            shared[id(p)] = with_shared_data(p)
            constants = getattr(p, "quant_state", None)  # of nf4, also an attribute of the layer
            shared[id(constants)] = constants
        else:
            shared[id(p)] = nn.Parameter(p.detach(), p.requires_grad)
    return copy.deepcopy(base, shared)


def _checksums(model: nn.Module) -> list[int]:
    """For each weight the sum of its bits, read as integers."""
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = [p.data.view(integers[p.dtype.itemsize]).sum() for p in model.parameters()]
    return torch.stack(sums).tolist() if sums else []
