"""Greedy decoding in which finished rows are dropped, or replaced by the next prompt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.cache import group_layers_by_attn_type

from bench.errors import Failure
from bench.memory import halving

PAGE = 64  # tokens of a request that are allocated at once
STEP_TOKENS = 2048  # maximum number of tokens in a forward pass of continuous batching
STATIC = "Give evaluation.batching=static, or a lower evaluation.batch_size"
LESS_MEMORY = "lower protocol.max_new_tokens, or use model.dtype=bfloat16 or a smaller base"


def repacked(
    model: Any,
    input_ids: torch.Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **state: Any,
) -> torch.Tensor:
    """The decoding loop of a greedy `generate` (its `custom_generate`) that drops ended rows.

    Once half of the rows have ended, the others are re-packed: cache, mask and positions keep
    only these. A cache that can't be re-packed is left as it is.

    Args:
        model: a causal language model; other arguments are those of a `generate` decoding loop.
        input_ids: prompts, padded on the left, int64, (rows, tokens).

    Returns:
        Prompts and answers, padded on the right with the padding token, int64, (rows, longest).
    """
    prompts, written = input_ids, []
    rows = torch.arange(len(input_ids), device=input_ids.device)
    ended = torch.zeros_like(rows, dtype=torch.bool)
    pad = generation_config.pad_token_id
    outputs = model._prefill(input_ids, generation_config, state)
    with model._optimize_model_for_decode():
        while True:
            state = model._update_model_kwargs_for_generation(outputs, state)
            scores = outputs.logits[:, -1].to(rows.device, torch.float32, copy=True)
            del outputs  # of the prompts they are large
            tokens = logits_processor(input_ids, scores).argmax(-1).masked_fill(ended, pad)
            input_ids = torch.cat([input_ids, tokens[:, None]], dim=-1)
            written.append(tokens.new_full((len(prompts),), pad).scatter(0, rows, tokens))
            ended |= stopping_criteria(input_ids, None)
            left = len(rows) - int(ended.sum())
            if not left:
                return torch.cat([prompts, torch.stack(written, dim=1)], dim=1)
            if 2 * left <= len(rows) and _can_select(state.get("past_key_values")):
                kept = (~ended).nonzero().flatten()
                rows, ended, input_ids = rows[kept], ended[kept], input_ids[kept]
                _select(state, kept)
            step = 1 if state.get("use_cache") else None
            inputs = model.prepare_inputs_for_generation(
                input_ids, next_sequence_length=step, **state
            )
            outputs = model(**inputs, return_dict=True)


def _can_select(cache: Any) -> bool:
    layers = getattr(cache, "layers", [])
    return bool(layers) and all(hasattr(layer, "batch_select_indices") for layer in layers)


def _select(state: dict[str, Any], kept: torch.Tensor) -> None:
    # The layers of a base may be on several devices; an index on the CPU is right for all.
    state["past_key_values"].batch_select_indices(kept.cpu())
    for name in ("attention_mask", "position_ids", "token_type_ids"):
        if state.get(name) is not None:
            # (rows, tokens); positions in space have a dimension before these.
            state[name] = state[name].index_select(-2, kept)


def why_not_continuous(model: Any) -> str:
    """Why a model can't be decoded with continuous batching, in words; empty if it can."""
    adapter = getattr(model, "active_peft_config", None)
    if adapter is not None and adapter.is_prompt_learning:
        return "its virtual tokens are no part of a paged cache"
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not (
        hasattr(base, "generate_batch") and getattr(base, "_supports_attention_backend", False)
    ):
        return "its attention does not support a paged cache"
    if len(set(getattr(base, "hf_device_map", {}).values())) > 1:
        return "it is spread over several devices"
    config = base.config.get_text_config()
    if getattr(config, "kv_lora_rank", None) is not None:
        return "its keys and values have different widths"  # a page has one
    with suppress(ValueError):
        group_layers_by_attn_type(config)
        return ""
    return "it has layers without a paged cache"


def continuous(
    model: Any,
    prompts: dict[int, list[int]],
    max_new_tokens: int,
    batch_size: int,
    stops: list[int],
    pad: int,
) -> Iterator[dict[int, list[int]]]:
    """Decode with transformers' continuous batching: a prompt takes the place of each ended row.

    Args:
        model: one for which `why_not_continuous` is empty, in eval mode.
        prompts: token ids by index, in the order in which they are begun.
        batch_size: prompts at once; the paged cache has the size of that many.
        stops, pad: tokens that end an answer, and the padding token.

    Yields:
        The tokens of the answers that ended, by index.

    Raises:
        Failure: a single prompt does not fit in memory, or the decoding failed.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    pages = -(-(max(map(len, prompts.values())) + max_new_tokens) // PAGE)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=stops, pad_token_id=pad
    )

    def start(rows: int) -> Any:
        options = ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=rows * pages,
            max_batch_tokens=max(STEP_TOKENS, rows),
            max_requests_per_batch=rows,
            allow_block_sharing=False,
            # It may download code, and computes other numbers.
            auto_switch_to_flash=False,
        )
        manager = base.init_continuous_batching(settings, options)
        try:
            manager.warmup()  # allocates the cache
        except MemoryError as error:
            raise torch.OutOfMemoryError(str(error)) from error
        return manager

    manager = halving(start, min(batch_size, len(prompts)), "evaluation", LESS_MEMORY)
    # Before the start, so that the batches do not depend on the speed of this thread.
    manager.add_requests(list(prompts.values()), max_new_tokens)
    indices, left = list(prompts), len(prompts)
    manager.start()
    try:
        while left:
            result = manager.get_result(timeout=1)
            found = {}
            while result is not None:
                if result.error is not None:
                    raise Failure(f"continuous batching failed: {result.error}. {STATIC}")
                found[indices[int(result.request_id.removeprefix("req_"))]] = (
                    result.generated_tokens
                )
                result = manager.get_result(timeout=0) if len(found) < left else None
            if found:
                left -= len(found)
                yield found
            elif not manager.is_running():
                raise Failure(f"continuous batching ended before its last answer. {STATIC}")
    finally:
        manager.stop(hard_stop=True)
        manager.destroy()
