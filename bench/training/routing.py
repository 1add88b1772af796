"""Which experts the tokens go to, in HELM's mixture and in its Euclidean twin's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from bench.models.helm.router import Router

# Where the chosen experts stand among what a router gives out.
ROUTERS: dict[type[nn.Module], int] = {Router: 0, DeepseekV3TopkRouter: 2}
RATE = 0.005  # of the twin's biases; HELM's own is its `balance_bias`, the same unless chosen


class Routing:
    """Counts the tokens of each expert in each layer with experts; of a model without, nothing."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.gates: dict[int, Any] = {
            _block(name): module
            for name, module in model.named_modules()
            if type(module) in ROUTERS
        }
        self.counts: dict[int, torch.Tensor] = {}  # by block: int64, (experts,)

    @contextmanager
    def counting(self) -> Iterator[Routing]:
        """Count, from nothing, what forward passes inside do."""
        self.reset()
        handles = [
            gate.register_forward_hook(self._counter(block)) for block, gate in self.gates.items()
        ]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def reset(self) -> None:
        """Forget what was counted."""
        self.counts = {}

    def _counter(self, block: int) -> Any:
        def count(gate: nn.Module, inputs: Any, outputs: Any) -> None:
            chosen = outputs[ROUTERS[type(gate)]]
            found = torch.bincount(chosen.flatten(), minlength=len(self.gates[block].weight))
            self.counts[block] = self.counts.get(block, 0) + found

        return count

    @torch.no_grad()
    def balance(self) -> None:
        """Move the biases that experts are chosen by towards those with fewer tokens.

        HELM's rule, for its twin as well: bias += rate * (1 / experts - share of the tokens).
        """
        if hasattr(self.model, "update_balance"):
            self.model.update_balance()
            return
        for block, counts in self.counts.items():
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(counts)  # the loads of all processes
            step = RATE * (1 / len(counts) - counts / counts.sum())
            bias = self.gates[block].e_score_correction_bias
            bias += step.to(bias)

    def load(self) -> list[dict[str, Any]]:
        """The share of each expert, and its entropy (1: even, 0: one expert), by block."""
        found = []
        for block, counts in sorted(self.counts.items()):
            shares = (counts.double() / counts.sum()).tolist()
            found.append({"block": block, "load": shares, "entropy": evenness(shares)})
        return found


def _block(name: str) -> int:
    return next(int(part) for part in name.split(".") if part.isdigit())


def evenness(shares: Sequence[float]) -> float:
    """The entropy of shares over that of equal ones: 1 where all are equal, 0 for one alone."""
    return -sum(p * math.log(p) for p in shares if p > 0) / math.log(len(shares))
