"""Batched generation, greedy or with beam search. In float32 the batch does not change a text."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from bench.evaluation.decoding import LESS_MEMORY, continuous, repacked, why_not_continuous
from bench.memory import halving

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generated:
    """The generated text of a prompt: the prompt's index, the text, and its number of tokens."""

    index: int
    text: str
    tokens: int


def generate(
    model: Any,
    tokenizer: Any,
    prompts: dict[int, list[int]],
    max_new_tokens: int,
    batch_size: int,
    answer_end: str | None = None,
    num_beams: int = 1,
    batching: str = "static",
) -> Iterator[list[Generated]]:
    """Generate for each prompt in batches, longest prompts first.

    In a static batch prompts are padded on the left and masked, and each row ends at its own stop
    token; in a continuous one the next prompt takes the place of a row that has ended. In float32 a
    row's text does not depend on its neighbours. With the longest prompts first, a batch size that
    does not fit in memory fails at once; it is then halved.

    Args:
        model: a causal language model in eval mode without generation settings of its own, as
            loaded by bench.models.loading.
        prompts: token ids by index.
        answer_end: the text from this marker on is discarded; see Protocol.
        num_beams: 1 for greedy decoding. Each beam of a prompt takes a row of memory.
        batching: `static`, or `continuous` (greedy, and if the model supports it).

    Yields:
        The results of one batch, or those that have ended since.

    Raises:
        Failure: a single prompt does not fit in memory, or continuous batching failed.
    """
    order = sorted(prompts, key=lambda index: (-len(prompts[index]), index))
    # A model of bench.models.loading also has the stop tokens of its base.
    stops, pad = model.generation_config.eos_token_id, tokenizer.pad_token_id
    stops = stops if isinstance(stops, list) else [tokenizer.eos_token_id]

    def read(index: int, ids: list[int]) -> Generated:
        end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
        ids = ids[: end + 1]
        text = tokenizer.decode(
            ids, skip_special_tokens=answer_end is None, clean_up_tokenization_spaces=False
        )
        return Generated(index, text.split(answer_end)[0] if answer_end else text, len(ids))

    if order and num_beams == 1 and _is_continuous(model, batching):
        in_order = {index: prompts[index] for index in order}
        for answers in continuous(model, in_order, max_new_tokens, batch_size, stops, pad):
            yield [read(index, ids) for index, ids in answers.items()]
        return

    @torch.inference_mode()
    def first(size: int) -> list[Generated]:
        batch, device = order[:size], next(model.parameters()).device
        longest = len(prompts[batch[0]])
        empty = {i: longest - len(prompts[i]) for i in batch}
        rows = [[pad] * empty[i] + prompts[i] for i in batch]
        mask = [[0] * empty[i] + [1] * len(prompts[i]) for i in batch]
        written: torch.Tensor = model.generate(
            input_ids=torch.tensor(rows, device=device),
            attention_mask=torch.tensor(mask, device=device),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            num_beams=num_beams,
            pad_token_id=pad,
            eos_token_id=stops,
            custom_generate=repacked if num_beams == 1 else None,
        )
        return list(map(read, batch, written[:, longest:].tolist()))

    while order:
        done = halving(first, min(batch_size, len(order)), "evaluation", LESS_MEMORY)
        yield done
        order, batch_size = order[len(done) :], min(batch_size, len(done))


def _is_continuous(model: Any, batching: str) -> bool:
    if batching == "static":
        return False
    if reason := why_not_continuous(model):
        _log.warning(
            "using static batches, because the model does not support continuous ones: %s", reason
        )
    return not reason
