"""Load of the experts in HELM's mixture and in its Euclidean twin's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from bench.models.helm.config import HelmConfig
from bench.models.helm.router import Router

# Index of the chosen experts in a router's output.
ROUTERS: dict[type[nn.Module], int] = {Router: 0, DeepseekV3TopkRouter: 2}


class Routing:
    """Counts the tokens of each expert in each layer with experts, if a model has any."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.gates: dict[int, Any] = {
            next(int(part) for part in name.split(".") if part.isdigit()): module
            for name, module in model.named_modules()
            if type(module) in ROUTERS
        }
        self.counts: dict[int, torch.Tensor] = {}  # by block: int64, (experts,)

    def reset(self) -> None:
        """Forget the load since the last step, e.g. of a pass that ran out of memory."""
        self.counts = {}
        for gate in self.gates.values():
            if isinstance(gate, Router):
                gate.reset_load()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Reset the counts, and count in all forward passes inside."""
        self.counts = {}
        with ExitStack() as hooks:
            for block, gate in self.gates.items():
                hooks.enter_context(gate.register_forward_hook(partial(self._count, block)))
            yield

    def _count(self, block: int, gate: nn.Module, inputs: Any, outputs: Any) -> None:
        chosen = outputs[ROUTERS[type(gate)]]
        experts = torch.arange(len(self.gates[block].weight), device=chosen.device)
        # Not bincount, which waits for the device.
        found = (chosen.flatten().unsqueeze(-1) == experts).sum(0)
        self.counts[block] = self.counts.get(block, 0) + found

    @torch.no_grad()
    def balance(self) -> None:
        """Move the selection biases towards experts with fewer tokens.

        HELM's rule, also for its twin: bias += rate * (1 / experts - share of the tokens).
        """
        if hasattr(self.model, "update_balance"):
            self.model.update_balance()
            return
        for block, counts in self.counts.items():
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(counts)  # over the ranks
            rate = getattr(self.model.config, "balance_bias", HelmConfig.balance_bias)
            step = rate * (1 / len(counts) - counts / counts.sum())
            bias = self.gates[block].e_score_correction_bias
            bias += step.to(bias)

    def load(self) -> list[dict[str, Any]]:
        """The share of each expert and its evenness, by block."""
        found = []
        for block, counts in sorted(self.counts.items()):
            shares = (counts.double() / counts.sum()).tolist()
            found.append({"block": block, "load": shares, "entropy": evenness(shares)})
        return found


def evenness(shares: Sequence[float]) -> float:
    """Normalised entropy: 1 for equal shares, 0 if one of several has all."""
    if len(shares) == 1:
        return 1.0
    return -sum(p * math.log(p) for p in shares if p > 0) / math.log(len(shares))
