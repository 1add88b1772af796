"""Rows of the token types that occur, and a summary of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.embeddings.frequency import Counts, content_words, is_word, token_texts
from bench.embeddings.matrices import INPUT, OUTPUT
from bench.embeddings.norms import Norms

COLUMNS = {
    "norm": (INPUT, False),
    "norm_centred": (INPUT, True),
    "output_norm": (OUTPUT, False),
    "output_norm_centred": (OUTPUT, True),
}


def token_rows(
    tokenizer: Any, counts: Counts, pretraining: Counts | None, norms: Sequence[Norms]
) -> list[dict[str, Any]]:
    """A row for each type that occurs, the most frequent first.

    Args:
        tokenizer: of the types.
        counts: in the texts.
        pretraining: in the pretraining text; None if unknown.
        norms: of `all_norms`.
    """
    seen = counts.seen
    texts = token_texts(tokenizer, seen.tolist())
    words, content = is_word(counts, seen), content_words(counts, texts)
    values = {(each.role, each.centred): each.values for each in norms}
    return [
        {
            "id": int(token),
            "text": texts[place],
            "count": int(counts.total[token]),
            "pretraining": None if pretraining is None else int(pretraining.total[token]),
            **{
                name: float(values[key][token]) if key in values else None
                for name, key in COLUMNS.items()
            },
            "word": bool(words[place]),
            "content": bool(content[place]),
        }
        for place, token in enumerate(seen)
    ]


def unseen(counts: Counts, entries: int, norms: Norms) -> dict[str, float | int | None]:
    """The number of types that never occur, with mean and standard deviation of their norms.

    Args:
        counts: of all texts.
        entries: of the tokenizer; further rows of the embedding are padding.
        norms: of the input embedding.
    """
    values = norms.values[:entries][counts.total[:entries] == 0]
    return {
        "tokens": len(values),
        "norm_mean": float(values.mean()) if len(values) else None,
        "norm_sd": float(values.std()) if len(values) else None,
    }
