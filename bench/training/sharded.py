"""FSDP2: weights, gradients and the optimiser's state shared out among ranks.

Every rank holds a part of each weight and gathers a block's weights while it goes through the
block. So all ranks go through the model equally often, and what is saved and loaded is put together
from their parts: a state is the same as that of one process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from bench.training.ranks import AddsUpOnce


def shard(model: Any, device: torch.device) -> None:
    """Share a model out among all ranks, block by block; its parts then lie on their devices.

    Args:
        model: a causal language model of transformers, the same in each rank.
        device: the rank's own.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in model.get_decoder().layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.to(device)  # buffers


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Have all weights whole, as code that reads them outside of a forward pass needs them."""
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in parts:
        module.unshard()
    try:
        yield
    finally:
        for module in parts:
            module.reshard()


class Sharded(AddsUpOnce):
    """Lightning's strategy for a model that is shared out already."""

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights, on the processor."""
        assert self.lightning_module is not None
        return _whole(self.lightning_module.state_dict())

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take each weight's part of a state."""
        module = self.lightning_module
        assert module is not None
        own = module.state_dict()
        parts = {k: _part(value, own[k]) for k, value in checkpoint["state_dict"].items()}
        module.load_state_dict(parts, strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state of an optimiser, on the processor."""
        return _whole(optimizer.state_dict())

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take each weight's part of the optimisers' states."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            state = {
                place: {key: _part(value, weights[place]) for key, value in held.items()}
                for place, held in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})


def _whole(value: Any) -> Any:
    """A state with whole tensors in the place of parts, on the processor."""
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _whole(held) for key, held in value.items()}
    return [_whole(held) for held in value] if isinstance(value, list) else value


def _part(value: Any, like: Any) -> Any:
    """What a rank holds of a whole tensor that belongs to a weight; other values as they are."""
    if not (isinstance(like, DTensor) and isinstance(value, torch.Tensor)):
        return value
    if value.shape != like.shape:  # a number of steps
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
