"""The cost of a HELM relative to a Euclidean twin of its size: a training step, and decoding."""

from __future__ import annotations

import gc
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from bench.efficiency.cases import VOCABULARY, Case, decode_step, random_ids, training_step
from bench.efficiency.timing import Workload, compare, interleave
from bench.models.helm.sizes import OF_TWIN, model_config
from bench.models.loading import pick_device

CONTROL = "again"  # the twin a second time: its ratio shows the noise
SIZE = "120m"
PUBLISHED_VOCABULARY = 128_256
LONGER = 4  # decoding is also timed after this multiple of the tokens


def measure_helm(
    tokens: int, rounds: int, batch: int = 1, device: torch.device | None = None
) -> dict[str, Any]:
    """Time both HELMs and their twins in turn, with random weights of the same seed.

    On a GPU in bfloat16 with the published vocabulary; on a CPU in float32 with a small one, since
    the head's product, equal in both, would dominate the step. Rows have `tokens` tokens, and a
    step `batch` rows.

    Returns:
        Plain data: for each pair, by workload and model, seconds and the ratio to the twin (median
        and quartiles); parameters, and cached numbers per token over all layers.
    """
    device = device or pick_device()
    gpu = device.type == "cuda"
    case = Case(SIZE, batch=batch, vocabulary=PUBLISHED_VOCABULARY if gpu else VOCABULARY)
    dtype = torch.bfloat16 if gpu else torch.float32
    pairs = {}
    for twin, own in OF_TWIN.items():
        models = {kind: _model(kind, case, dtype, device) for kind in (twin, own)}
        works = {}
        for work in (f"step {tokens}", f"decode {tokens}", f"decode {LONGER * tokens}"):
            workloads = _workloads(work, models, twin, case, device)
            seconds = interleave(f"{own} vs. {twin}: {work}", workloads, rounds)
            works[work] = {
                name: {"seconds": timing["median"]}
                | {key: timing[key] for key in ("ratio", "ratio_low", "ratio_high")}
                for name, timing in compare(seconds, twin).items()
            }
            del workloads
            gc.collect()
        pairs[own] = {
            "twin": twin,
            "parameters": {
                kind: sum(p.numel() for p in model.parameters()) for kind, model in models.items()
            },
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


def _workloads(
    work: str, models: dict[str, Any], twin: str, case: Case, device: torch.device
) -> dict[str, Workload]:
    kind, length = work.split()
    make, rows = (training_step, case.batch) if kind == "step" else (decode_step, 1)
    ids = random_ids(case, rows, int(length), device)
    made = {name: make(model, ids) for name, model in models.items()}
    return {**made, CONTROL: made[twin]}


@torch.no_grad()
def cached_numbers(model: Any) -> int:
    """Numbers in a model's cache per token, over all layers."""
    cache: Any = DynamicCache(config=model.config)
    device = next(model.parameters()).device
    token = torch.zeros(1, 1, dtype=torch.long, device=device)
    model.eval()(input_ids=token, past_key_values=cache)
    return sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
