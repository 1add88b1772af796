"""How often each token type occurs in texts, and whether the counts follow a power law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.problems import Problem
from bench.geometry.powerlaw import fit_power_law

SPACES = ("Ġ", "▁")  # how byte-level BPE and SentencePiece write the space before a word

# English words of closed classes: what is left of the words of a text is about something.
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
    """How often each type of a vocabulary occurs.

    Attributes:
        total: int64, (vocabulary,).
        whole: of these, the places where the type is a whole word of letters; int64, (vocabulary,).
    """

    total: NDArray[np.int64]
    whole: NDArray[np.int64]

    @property
    def seen(self) -> NDArray[np.int64]:
        """The types that occur, the most frequent first and among equals by their number."""
        order = np.argsort(-self.total, kind="stable")
        return order[: int((self.total > 0).sum())]


def text_of(problem: Problem) -> str:
    """What a problem says: its instruction and, below it, its input. No prompt is put around it."""
    return "\n".join(part for part in (problem.instruction.strip(), problem.input.strip()) if part)


def count_tokens(tokenizer: Any, texts: Sequence[str], vocabulary: int) -> Counts:
    """Count the token types of texts; what the tokenizer puts around a text is not counted.

    Args:
        tokenizer: a transformers tokenizer.
        texts: each read on its own.
        vocabulary: how many rows the model's embedding has.
    """
    rows = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    ends = -1  # between two texts there is no letter
    ids = np.array([i for row in rows for i in (ends, *row)] + [ends], dtype=np.int64)
    used = np.unique(ids[ids >= 0])
    starts, stops, letters = (np.zeros(vocabulary + 1, dtype=bool) for _ in range(3))
    for number, text in zip(used.tolist(), token_texts(tokenizer, used.tolist()), strict=True):
        starts[number], stops[number] = text[:1].isalpha(), text[-1:].isalpha()
        letters[number] = text.strip().isalpha()
    # A word ends where the next token begins with anything but a letter, a space above all.
    middle = ids[1:-1]
    alone = letters[middle] & ~starts[ids[2:]] & ~(starts[middle] & stops[ids[:-2]])
    return Counts(
        np.bincount(middle[middle >= 0], minlength=vocabulary),
        np.bincount(middle[alone & (middle >= 0)], minlength=vocabulary),
    )


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The types as they stand in a text, with the space before a word.

    Args:
        tokenizer: a transformers tokenizer.
        ids: token types.
    """
    found = []
    for number, raw in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True):
        text = tokenizer.decode([number], clean_up_tokenization_spaces=False)
        # SentencePiece drops the space before what it takes for the first word of a text.
        spaced = raw.startswith(SPACES) and not text.startswith(" ")
        found.append(f" {text}" if spaced else text)
    return found


def sum_of(counts: Sequence[Counts]) -> Counts:
    """The counts of several texts together; at least one."""
    return Counts(
        np.sum([each.total for each in counts], axis=0),
        np.sum([each.whole for each in counts], axis=0),
    )


def power_law(
    counts: Counts, replicas: int, seed: int, told: Callable[[int], object] = lambda count: None
) -> dict[str, Any]:
    """The power law of how often types occur: P(a type occurs k times) ~ k^-gamma for k >= xmin.

    Args:
        counts: of the types; those that never occur are left out.
        replicas: of the bootstrap behind the p-value.
        seed: of it.
        told: called with 1 after each replica.

    Returns:
        `gamma` with the ends `low` and `high` of its 95% interval at the xmin found, `xmin`, `tail`
        (how many types occur so often), `ks`, `p` (a small one speaks against a power law) and
        `against`: for `lognormal` and `exponential` the log-likelihood `ratio`, positive where the
        power law is nearer to the data, and the `p` of its sign. All None where too few counts
        differ for a fit.
    """
    try:
        law = fit_power_law(counts.total[counts.total > 0], replicas=replicas, seed=seed, told=told)
    except ValueError:  # fewer than two different counts
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
    """Whether each of these types is a whole word in most of its places."""
    return 2 * counts.whole[types] > counts.total[types]


def content_words(counts: Counts, texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the types seen are words of at least three letters, and no function words.

    Args:
        counts: of the types.
        texts: of `counts.seen`.
    """
    words = [text.strip() for text in texts]
    able = [len(word) >= 3 and word.casefold() not in FUNCTION_WORDS for word in words]
    return is_word(counts, counts.seen) & np.array(able, dtype=bool)
