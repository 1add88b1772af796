"""Which experts the tokens go to, in HELM's mixture and in its Euclidean twin's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

GATE = "DeepseekV3TopkRouter"


class Routing:
    """Counts the tokens of each expert in each layer with experts; of a model without, nothing."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.gates = {
            block: module
            for name, module in model.named_modules()
            if type(module).__name__ == GATE
            for block in [next(int(part) for part in name.split(".") if part.isdigit())]
        }
        self.counts: dict[int, torch.Tensor] = {}  # by block: float64, (experts,)

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
            chosen = outputs[2]
            found = torch.bincount(chosen.flatten(), minlength=gate.num_experts).double()  # type: ignore[arg-type]
            self.counts[block] = self.counts.get(block, 0) + found

        return count

    @torch.no_grad()
    def balance(self, rate: float) -> None:
        """Move the biases that experts are chosen by towards those with fewer tokens.

        HELM's rule, for its twin as well: bias += rate * (1 / experts - share of the tokens).

        Args:
            rate: 0 leaves them as they are.
        """
        for block, gate in self.gates.items():
            if rate and block in self.counts:
                share = self.counts[block] / self.counts[block].sum()
                step = rate * (1 / len(share) - share)
                gate.e_score_correction_bias += step.to(gate.e_score_correction_bias)

    def load(self) -> list[dict[str, Any]]:
        """The share of each expert, and its entropy (1: even, 0: one expert), by block."""
        found = []
        for block, counts in sorted(self.counts.items()):
            shares = (counts / counts.sum()).tolist()
            found.append({"block": block, "load": shares, "entropy": evenness(shares)})
        return found


def evenness(shares: Sequence[float]) -> float:
    """The entropy of shares over that of equal ones: 1 where all are equal, 0 for one alone."""
    return -sum(p * math.log(p) for p in shares if p > 0) / math.log(len(shares))
