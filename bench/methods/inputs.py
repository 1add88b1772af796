"""What the layers of a model are given, seen one prompt and one layer at a time."""

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
    """Run prompts through a model and show what each layer is given, as it comes.

    Nothing is kept here: the inputs of all layers of a large model fit into no memory.

    Args:
        model: a causal language model, with an adapter or without. It runs in eval mode, and is
            left in the mode that it was in.
        layers: modules of it by name, whose first argument is looked at.
        prompts: token ids, each prompt run on its own, so that no padding is seen.
        see: called with a layer's name and its input ``(..., d)``, in the order in which layers
            run. Layers that share their input are shown the same tensor, and a layer that a prompt
            does not reach is not shown.
    """

    def look(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        see(name, args[0])

    hooks = [layer.register_forward_pre_hook(partial(look, n)) for n, layer in layers.items()]
    training, device = model.training, next(model.parameters()).device
    try:
        model.eval()
        for prompt in prompts:
            model(input_ids=torch.tensor([list(prompt)], device=device), use_cache=False)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
