"""Batched generation, greedy or with beam search, whose results do not depend on the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from bench.memory import halving

LESS_MEMORY = "lower protocol.max_new_tokens, or use model.dtype=bfloat16 or a smaller base"


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
) -> Iterator[list[Generated]]:
    """Generate for each prompt in batches, longest prompts first.

    Prompts are padded on the left and masked, and each row ends at its own stop token, so that in
    float32 a row's text does not depend on its neighbours. With the longest prompts first, a batch
    size that does not fit in memory fails at once; it is then halved.

    Args:
        model: a causal language model in eval mode without generation settings of its own, as
            loaded by bench.models.loading.
        prompts: token ids by index.
        answer_end: the text from this marker on is discarded; see Protocol.
        num_beams: 1 for greedy decoding. Each beam of a prompt takes a row of memory.

    Yields:
        The results of one batch.

    Raises:
        Failure: a single prompt does not fit in memory.
    """
    order = sorted(prompts, key=lambda index: (-len(prompts[index]), index))
    # A model of bench.models.loading also has the stop tokens of its base.
    stops, pad = model.generation_config.eos_token_id, tokenizer.pad_token_id
    stops = stops if isinstance(stops, list) else [tokenizer.eos_token_id]

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
        )
        return list(map(read, batch, written[:, longest:].tolist()))

    def read(index: int, ids: list[int]) -> Generated:
        end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
        ids = ids[: end + 1]
        text = tokenizer.decode(
            ids, skip_special_tokens=answer_end is None, clean_up_tokenization_spaces=False
        )
        return Generated(index, text.split(answer_end)[0] if answer_end else text, len(ids))

    while order:
        done = halving(first, min(batch_size, len(order)), "evaluation", LESS_MEMORY)
        yield done
        order, batch_size = order[len(done) :], min(batch_size, len(done))
