"""How ranks share a training: gradients alone, or also weights and their optimiser state (FSDP2).

States are saved and loaded whole, so that one process and several ranks can resume each other's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning_utilities.core.apply_func import apply_to_collection
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

BUCKET = 2**25  # numbers that are reduced at once, through a copy


class ManualDDP(DDPStrategy):
    """Lightning's DDP without its wrapper, which would reduce during the backward pass."""

    def configure_ddp(self) -> None:
        """Leave the module unwrapped."""

    def reduce_step(self, parameters: Iterable[torch.Tensor], loss: torch.Tensor) -> None:
        """Replace gradients and loss of a step, (), by their sums over all ranks.

        Once per step, so that ranks may differ in their number of passes.
        """
        trained = [p for p in parameters if p.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([loss, *(p.grad for p in trained if p.grad is not None)]):
            total = torch.cat([t.flatten() for t in bucket])
            torch.distributed.all_reduce(total)  # without the barrier of `reduce`
            for own, part in zip(bucket, total.split([t.numel() for t in bucket]), strict=True):
                own.copy_(part.view_as(own))


def _buckets(tensors: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Group successive tensors of one dtype up to BUCKET numbers."""
    bucket: list[torch.Tensor] = []
    held = 0
    for tensor in tensors:
        if bucket and (held + tensor.numel() > BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(tensor)
        held += tensor.numel()
    yield bucket


def shard(model: Any, device: torch.device, whole: Iterable[nn.Parameter] = ()) -> None:
    """Shard a transformers model over all ranks, block by block, and move it to their devices.

    Parameters in `whole` are not sharded; FSDP does not reduce their gradients either.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    ignored = set(whole)
    for part in (*model.get_decoder().layers, model):
        fully_shard(part, mesh=mesh, ignored_params=ignored)
    model.to(device)  # buffers, and parameters in `whole`


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Gather all weights for code that reads them outside of a forward pass."""
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in parts:
        module.unshard()
    try:
        yield
    finally:
        for module in parts:
            module.reshard()


class Sharded(ManualDDP):
    """Lightning's strategy for a model that is already sharded."""

    def reduce_step(self, parameters: Iterable[torch.Tensor], loss: torch.Tensor) -> None:
        """Replace the loss by its sum; FSDP reduces the gradients in each backward pass."""
        super().reduce_step((), loss)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights."""
        return _whole(self.lightning_module.state_dict())

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load this rank's shards of whole weights."""
        module = self.lightning_module
        own = module.state_dict()
        shards = {k: _shard(value, own[k]) for k, value in checkpoint["state_dict"].items()}
        module.load_state_dict(shards, strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state of an optimiser."""
        return _whole(optimizer.state_dict())

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this rank's shards of the optimisers' states."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            state = {
                place: {key: _shard(value, weights[place]) for key, value in held.items()}
                for place, held in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})


def _whole(state: Any) -> Any:
    """A state with gathered tensors, on the CPU."""
    gather = lambda t: (t.full_tensor() if isinstance(t, DTensor) else t).cpu()  # noqa: E731
    return apply_to_collection(state, torch.Tensor, gather)


def _shard(value: Any, like: Any) -> Any:
    """This rank's shard of a value with an entry per row of a weight, or per number of it."""
    shape = value.shape if isinstance(value, torch.Tensor) else ()
    if isinstance(like, DTensor) and shape and shape == like.shape[: len(shape)]:
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value
