"""What a HELM costs beside a Euclidean model of its size: a pretraining step, and decoding."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, DynamicCache

from bench.efficiency.cases import Case, decode_step, random_ids, training_step
from bench.efficiency.timing import Timing, Work, compare, interleave
from bench.models.helm.sizes import model_config
from bench.progress import Progress

PAIRS = {"helm_d": "llama_twin", "helm_mice": "deepseek_twin"}
CONTROL = "again"  # a twin beside itself: what is left of its ratio is noise
SIZE = "120m"
# A large one would fill the step with the head's product, which is the same in both.
VOCABULARY = 1024
PUBLISHED_VOCABULARY = 128_256
LONGER = 4  # decoding is timed behind so many times the tokens, too


def measure_helm(
    tokens: int, rounds: int, batch: int = 1, device: torch.device | None = None
) -> dict[str, Any]:
    """Time both HELMs and their twins in turn, with random weights of the same seed.

    On a processor in float32, with a small vocabulary; on a GPU in bfloat16, with the published.

    Args:
        tokens: of a row.
        rounds: figures for each model and work.
        batch: rows of a step.
        device: where; the first GPU, or the processor, where not given.

    Returns:
        Plain data: for each pair, by work and model, seconds and the ratio to the twin (median and
        quartiles); parameters, and numbers that a cache holds for each token of all layers.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    case = Case(SIZE, batch=batch, vocabulary=PUBLISHED_VOCABULARY if gpu else VOCABULARY)
    dtype = torch.bfloat16 if gpu else torch.float32
    pairs = {}
    with Progress("HELM beside its twins", 9 * rounds * len(PAIRS), "figure") as progress:
        for own, twin in PAIRS.items():
            models = {kind: _model(kind, case, dtype, device) for kind in (twin, own)}
            works = {}
            for work in (f"step {tokens}", f"decode {tokens}", f"decode {LONGER * tokens}"):
                made = _works(work, models, twin, case, device)
                told = partial(progress.update, 1)
                seconds = interleave(made, rounds, {}, device, told=told)
                timings = compare(seconds, twin)
                works[work] = {name: _plain(timing) for name, timing in timings.items()}
                del made
                gc.collect()
            pairs[own] = {
                "twin": twin,
                "parameters": {kind: _parameters(model) for kind, model in models.items()},
                "cached": {kind: cached_numbers(model) for kind, model in models.items()},
                "works": works,
            }
    return {
        "size": SIZE,
        "tokens": tokens,
        "batch": batch,
        "rounds": rounds,
        "vocabulary": case.vocabulary,
        "dtype": str(dtype).removeprefix("torch."),
        "pairs": pairs,
    }


def _model(kind: str, case: Case, dtype: torch.dtype, device: torch.device) -> Any:
    torch.manual_seed(0)
    config = model_config(kind, case.name, case.vocabulary, max_position_embeddings=1 << 16)
    return AutoModelForCausalLM.from_config(config).to(device, dtype)


def _works(
    work: str, models: dict[str, Any], twin: str, case: Case, device: torch.device
) -> dict[str, Work]:
    kind, length = work.split()
    if kind == "step":
        ids = random_ids(case, case.batch, int(length), device)
        made = {name: training_step(model, ids) for name, model in models.items()}
    else:
        ids = random_ids(case, 1, int(length), device)
        made = {name: decode_step(model, ids) for name, model in models.items()}
    return {**made, CONTROL: made[twin]}


def _plain(timing: Timing) -> dict[str, float]:
    return {
        "seconds": timing.median,
        "ratio": timing.ratio,
        "ratio_low": timing.ratio_low,
        "ratio_high": timing.ratio_high,
    }


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def cached_numbers(model: Any) -> int:
    """Numbers that a model's cache holds for each token, all layers together."""
    cache: Any = DynamicCache(config=model.config)
    device = next(model.parameters()).device
    model.eval()(
        input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), past_key_values=cache
    )
    return sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
