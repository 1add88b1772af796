"""Batches of each architecture write what its prompts write alone."""

import pytest

from bench.evaluation.decoding import why_not_continuous
from bench.evaluation.generation import generate

PAGED = ("llama", "gemma3", "qwen2", "gpt_neox")
PROMPTS = {i: list(range(3, 6 + 7 * i)) for i in range(5)}  # the window of gemma3 has 16 tokens


def decoded(model, tokenizer, size, batching):
    batches = generate(model, tokenizer, PROMPTS, 12, size, batching=batching)
    return {g.index: (g.text, g.tokens) for batch in batches for g in batch}


@pytest.mark.parametrize("name", [*PAGED, "helm_d", "helm_mice", "deepseek_v3"])
def test_batches_of_each_architecture_write_the_same(family, name):
    model, tokenizer = family(name)
    alone = decoded(model, tokenizer, 5, "static")
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text, _ in alone.values()]
    # Answers end at tokens that some of them have.
    stops = [row[2 * i] for i, row in enumerate(ids) if len(row) > 2 * i]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *stops]
    alone = decoded(model, tokenizer, 1, "static")
    assert len({tokens for _, tokens in alone.values()}) > 2
    assert decoded(model, tokenizer, 5, "static") == alone
    assert (why_not_continuous(model) == "") == (name in PAGED)
    if name in PAGED:
        assert decoded(model, tokenizer, 3, "continuous") == alone
