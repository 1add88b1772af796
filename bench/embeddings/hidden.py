"""Delta of the last hidden layer, before and after fine-tuning: the paper's Tables 6 and 7."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.embeddings.deltas import GAUSSIAN, SHUFFLED, control_deltas, gaussian_like

STATES = "states"
MEASURES = (("euclidean", "first"), ("euclidean", "all"))


@dataclass(frozen=True)
class Tuned:
    """A model whose last hidden layer is measured.

    Attributes:
        model: its label.
        method: the method's key, `none` for the base; None if unknown.
        curvature: its K, or `auto`; None for a method without one.
        run: the beginning of the run's identity, if there is one.
        load: returns the model in eval mode; called when needed, so that one is in memory.
    """

    model: str
    method: str | None
    curvature: float | str | None
    run: str | None
    load: Callable[[], Any]

    @property
    def facts(self) -> dict[str, Any]:
        """All attributes but `load`."""
        return {key: getattr(self, key) for key in ("model", "method", "curvature", "run")}


def hidden_deltas(
    model: Any,
    prompts: Mapping[str, Sequence[Sequence[int]]],
    seed: int,
    progress: Callable[[int], Any] = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """Relative delta of the head's inputs, for the prompts of each set; `prompts` are token ids.

    Controls: Gaussian vectors with the states' norms, and the states of a set shuffled over its
    prompts, except for those of first positions, which attention makes unlike all others.

    Yields:
        For each set and measure `set` and the values of `control_deltas`.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    for key, rows in prompts.items():
        states = [last_hidden(model, ids) for ids in rows]
        gaussian = [gaussian_like(cloud, generator) for cloud in states]
        clouds = {STATES: states, GAUSSIAN: gaussian, SHUFFLED: _shuffled(states, generator)}
        for found in control_deltas(clouds, MEASURES, progress, device):
            yield {"set": key, **found}


@torch.inference_mode()
def last_hidden(model: Any, ids: Sequence[int]) -> Tensor:
    """The states after the last layer and its norm, (tokens, dimension) in float32 on the CPU."""
    given = torch.tensor([list(ids)], device=next(model.parameters()).device)
    made = model(input_ids=given, use_cache=False, output_hidden_states=True, logits_to_keep=1)
    return made.hidden_states[-1][0].float().cpu()


def _shuffled(clouds: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    rest = torch.cat([cloud[1:] for cloud in clouds])
    parts = rest[torch.randperm(len(rest), generator=generator)].split([len(c) - 1 for c in clouds])
    return [torch.cat([cloud[:1], part]) for cloud, part in zip(clouds, parts, strict=True)]
