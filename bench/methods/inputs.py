"""The inputs of a model's layers, one prompt and one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def see_inputs(
    model: Any,
    layers: Mapping[str, nn.Module],
    prompts: Iterable[Sequence[int]],
    see: Callable[[str, Tensor], None],
) -> None:
    """Run prompts through a model in eval mode and pass the input of each layer to a function.

    Args:
        model: a causal language model, with or without an adapter; its mode is restored.
        layers: modules of the model by name.
        prompts: token ids; each prompt is run on its own, without padding.
        see: called with a layer's name and its input ``(..., d)``, in order of execution. Layers
            that share their input get the same tensor; layers that are not executed are skipped.
    """

    def hook(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        see(name, args[0])

    hooks = [layer.register_forward_pre_hook(partial(hook, n)) for n, layer in layers.items()]
    training, device = model.training, next(model.parameters()).device
    try:
        model.eval()
        for prompt in prompts:
            model(input_ids=torch.tensor([list(prompt)], device=device), use_cache=False)
    finally:
        model.train(training)
        for handle in hooks:
            handle.remove()
