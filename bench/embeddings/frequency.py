"""Frequencies of token types in texts, and their fit to a power law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.problems import Problem
from bench.geometry.powerlaw import fit_power_law

SPACES = ("Ġ", "▁")  # the space before a word in byte-level BPE and SentencePiece

# English words of closed classes, which are no content words.
FUNCTION_WORDS = frozenset(
    """
    a about above after again against all also am an and another any are as at away be because been
    before behind being below between both but by can could did do does doing done down during each
    either else enough even ever every few for from further had has have having he her here hers
    herself him himself his how however i if in into is it its itself just last least less let like
    made make makes many may me might mine more most much must my myself neither never no nor not
    now of off on once one only onto or other others our ours ourselves out over own per rather same
    shall she should since so some still such than that the their theirs them themselves then there
    these they this those through thus till to together too toward towards under until up upon us
    very was we were what whatever when where whether which while who whom whose why will with
    within without would yet you your yours yourself yourselves
    """.split()
)


@dataclass(frozen=True)
class Counts:
    """Occurrences of each type, in total and as a whole word of letters: int64, (vocabulary,)."""

    total: NDArray[np.int64]
    whole: NDArray[np.int64]

    @property
    def seen(self) -> NDArray[np.int64]:
        """The types that occur, the most frequent first, ties by type."""
        order = np.argsort(-self.total, kind="stable")
        return order[: int((self.total > 0).sum())]


def text_of(problem: Problem) -> str:
    """A problem's instruction and, on a new line, its input, without a prompt."""
    return "\n".join(part for part in (problem.instruction.strip(), problem.input.strip()) if part)


def count_tokens(tokenizer: Any, texts: Sequence[str], vocabulary: int) -> Counts:
    """Count the token types of texts, without special tokens.

    `vocabulary` is the number of rows of the model's embedding.
    """
    rows = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    ends = -1  # separates texts
    ids = np.array([i for row in rows for i in (ends, *row)] + [ends], dtype=np.int64)
    used = np.unique(ids[ids >= 0])
    starts, stops, letters = (np.zeros(vocabulary + 1, dtype=bool) for _ in range(3))
    for number, text in zip(used.tolist(), token_texts(tokenizer, used.tolist()), strict=True):
        starts[number], stops[number] = text[:1].isalpha(), text[-1:].isalpha()
        letters[number] = text.strip().isalpha()
    # A word ends before a token that starts with anything but a letter, such as a space.
    middle = ids[1:-1]
    alone = letters[middle] & ~starts[ids[2:]] & ~(starts[middle] & stops[ids[:-2]])
    return Counts(
        np.bincount(middle[middle >= 0], minlength=vocabulary),
        np.bincount(middle[alone & (middle >= 0)], minlength=vocabulary),
    )


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Token types as text, with the space before a word."""
    found = []
    for number, raw in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True):
        text = tokenizer.decode([number], clean_up_tokenization_spaces=False)
        # SentencePiece drops the space before the first word of a text.
        spaced = raw.startswith(SPACES) and not text.startswith(" ")
        found.append(f" {text}" if spaced else text)
    return found


def sum_of(counts: Sequence[Counts]) -> Counts:
    """The sum of one or more counts."""
    return Counts(
        np.sum([each.total for each in counts], axis=0),
        np.sum([each.whole for each in counts], axis=0),
    )


def power_law(counts: Counts, replicas: int, seed: int) -> dict[str, Any]:
    """The power law of type frequencies: P(a type occurs k times) ~ k^-gamma for k >= xmin.

    Types that never occur are left out. The bootstrap with `replicas` is for the p-value.

    Returns:
        `gamma` with its 95% interval `low`, `high` at the fitted xmin, `xmin`, `tail` (number of
        types from there on), `ks`, `p` (a small one rejects the power law) and `against`: for
        `lognormal` and `exponential` the log-likelihood `ratio`, positive in favour of the power
        law, and the `p` of its sign. All None with fewer than two different counts.
    """
    try:
        law = fit_power_law(counts.total[counts.total > 0], replicas=replicas, seed=seed)
    except ValueError:
        return dict.fromkeys(("gamma", "low", "high", "xmin", "tail", "ks", "p", "against"))
    return {
        "gamma": law.gamma,
        "low": law.gamma - 1.96 * law.gamma_se,
        "high": law.gamma + 1.96 * law.gamma_se,
        "xmin": law.xmin,
        "tail": law.n_tail,
        "ks": law.ks,
        "p": law.p_value,
        "against": {
            name: {"ratio": other.ratio, "p": other.p_value}
            for name, other in law.alternatives.items()
        },
    }


def is_word(counts: Counts, types: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each of these types is a whole word in most of its occurrences."""
    return 2 * counts.whole[types] > counts.total[types]


def content_words(counts: Counts, texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the types seen are words of at least three letters that are no function words.

    `texts` are those of `counts.seen`.
    """
    words = [text.strip() for text in texts]
    able = [len(word) >= 3 and word.casefold() not in FUNCTION_WORDS for word in words]
    return is_word(counts, counts.seen) & np.array(able, dtype=bool)
