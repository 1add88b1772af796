"""Generation in batches, greedy or with beams, such that the batch never changes an answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from bench.memory import halving

LESS_MEMORY = "lower protocol.max_new_tokens, or take model.dtype=bfloat16 or a smaller base"


@dataclass(frozen=True)
class Generated:
    """What the model wrote for one prompt: its index, the text, and the number of tokens."""

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
) -> Iterator[list[Generated]]:
    """Generate for each prompt, a batch at a time, longest prompts first.

    Prompts are padded on the left and masked, and each row ends at its own end-of-sequence
    token, so that in float32 a row's text does not depend on its neighbours. The longest come
    first: whether a batch fits in memory shows at once and not at the end. One that does not is
    halved, and so are all that follow.

    Args:
        model: a causal language model in eval mode, loaded by bench.models.loading, which leaves
            it no generation settings of its own.
        tokenizer: its tokenizer.
        prompts: token ids by index.
        max_new_tokens: the most tokens for each.
        batch_size: prompts at once.
        answer_end: what is written from here on is left out; see Protocol.
        num_beams: 1 is greedy. With more, each prompt takes so many rows of memory.

    Yields:
        The results of one batch.

    Raises:
        Failure: one prompt alone does not fit in memory.
    """
    order = sorted(prompts, key=lambda index: (-len(prompts[index]), index))

    options = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}

    def first(size: int) -> list[Generated]:
        written = _generate(model, tokenizer, prompts, order[:size], options)
        return [
            _read(tokenizer, index, ids, answer_end)
            for index, ids in zip(order[:size], written, strict=True)
        ]

    while order:
        done = halving(first, min(batch_size, len(order)), "evaluation", LESS_MEMORY)
        yield done
        order, batch_size = order[len(done) :], min(batch_size, len(done))


def _generate(
    model: Any,
    tokenizer: Any,
    prompts: dict[int, list[int]],
    indices: list[int],
    options: dict[str, int],
) -> list[list[int]]:
    """What the model writes for these prompts at once, the longest of which is the first."""
    device = next(model.parameters()).device
    longest = len(prompts[indices[0]])
    pad = tokenizer.pad_token_id
    rows = [[pad] * (longest - len(prompts[i])) + prompts[i] for i in indices]
    mask = [[0] * (longest - len(prompts[i])) + [1] * len(prompts[i]) for i in indices]
    with torch.inference_mode():
        written: torch.Tensor = model.generate(
            input_ids=torch.tensor(rows, device=device),
            attention_mask=torch.tensor(mask, device=device),
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=tokenizer.eos_token_id,
            **options,
        )
    return written[:, longest:].tolist()


def _read(tokenizer: Any, index: int, ids: list[int], answer_end: str | None) -> Generated:
    if tokenizer.eos_token_id in ids:
        ids = ids[: ids.index(tokenizer.eos_token_id) + 1]
    text = tokenizer.decode(
        ids, skip_special_tokens=answer_end is None, clean_up_tokenization_spaces=False
    )
    return Generated(index, text.split(answer_end)[0] if answer_end else text, len(ids))
