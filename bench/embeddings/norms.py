"""Norm against frequency: are the embeddings of frequent tokens nearer to the origin?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.embeddings.frequency import Counts, content_words, token_texts
from bench.embeddings.matrices import Matrices, row_norms
from bench.embeddings.spearman import spearman

# The word groups of the camera-ready's Table 1, from function words to specific ones.
GROUPS = {
    "G1": ("to", "in", "have", "that", "and", "is", "for"),
    "G2": ("how", "much", "many", "time", "cost"),
    "G3": ("animal", "fruit", "number", "color", "size"),
    "G4": (
        *("dog", "cow", "apple", "banana", "380", "480"),
        *("purple", "red", "medium", "small", "large"),
    ),
}
FREQUENT = 20  # occurrences from which a count says something of how frequent a type is
BINS_PER_DECADE = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Norms:
    """The norms of one matrix's rows, of all types of the vocabulary.

    Attributes:
        role: `input`, or `output` for the matrix that the logits are made with; `states` for what
            the last block gives out.
        centred: whether the mean row of the types that occur was taken off.
        values: float64, (vocabulary,); NaN where there is none.
    """

    role: str
    centred: bool
    values: Floats


def all_norms(matrices: Matrices, seen: Sequence[int]) -> list[Norms]:
    """The norms of each matrix as it is, and less the mean row of the types that occur.

    Which types are nearer to the origin depends on where that is: a direction that all rows have in
    common adds to every norm, and more to some.

    Args:
        matrices: of the model.
        seen: the types that occur.
    """
    found = []
    for role, matrix in matrices.roles.items():
        mean = matrix[list(seen)].float().mean(dim=0)
        for centred, less in ((False, None), (True, mean)):
            values = row_norms(matrix, less).double().numpy()
            found.append(Norms(role, centred, values))
    return found


def word_groups(tokenizer: Any, counts: Counts, norms: Floats) -> list[dict[str, Any]]:
    """The paper's groups with frequencies and norms of their words.

    A word enters where it is one token: with the space before it or without, in small letters or
    with a capital; of these the one that the texts have most of. A word of several tokens has no
    norm of its own, and one that does not occur has no frequency: both are named, as is one whose
    norm is NaN.

    Args:
        tokenizer: a transformers tokenizer.
        counts: of its types.
        norms: (vocabulary,).
    """
    found = []
    for name, members in GROUPS.items():
        words, missing = [], []
        for word in members:
            forms = [space + form for form in (word, word.capitalize()) for space in (" ", "")]
            encoded = tokenizer(forms, add_special_tokens=False)["input_ids"]
            single = [ids[0] for ids in encoded if len(ids) == 1]
            if not single:
                missing.append({"word": word, "why": f"{len(encoded[0])} tokens"})
                continue
            token = max(single, key=lambda one: counts.total[one])
            count = int(counts.total[token])
            if not count:
                missing.append({"word": word, "why": "not in the texts"})
                continue
            if np.isnan(norms[token]):
                missing.append({"word": word, "why": "not in the prompts"})
                continue
            text = token_texts(tokenizer, [token])[0]
            words.append({"word": word, "text": text, "count": count, "norm": float(norms[token])})
        found.append({"group": name, "words": words, "missing": missing, **_summary(words)})
    return found


def _summary(words: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    summary: dict[str, float | None] = {}
    for short, key in (("freq", "count"), ("norm", "norm")):
        values = [word[key] for word in words]
        for kind, of in (("mean", np.mean), ("min", min), ("max", max)):
            summary[f"{short}_{kind}"] = float(of(values)) if values else None
    return summary


def correlations(
    norms: Sequence[Norms], counted: Mapping[str, Counts], tokenizer: Any, replicas: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Spearman's rho between count and norm over the types that occur, and over some of them.

    Args:
        norms: of `all_norms`; types without one enter nothing.
        counted: counts by what was counted.
        tokenizer: of the types.
        replicas: of the bootstrap.
        seed: of it.

    Yields:
        For each a row with `role`, `centred`, `counted`, `tokens_of`, `n`, `rho`, `low`, `high`.
        `tokens_of` is all types, those seen FREQUENT times, or of these the content words.
    """
    for name, counts in counted.items():
        seen, times = counts.seen, counts.total[counts.seen]
        frequent = times >= FREQUENT
        content = frequent & content_words(counts, token_texts(tokenizer, seen.tolist()))
        subsets = {"all": times > 0, "frequent": frequent, "content": content}
        for each in norms:
            for of, chosen in subsets.items():
                inside = chosen & np.isfinite(each.values[seen])
                found = spearman(times[inside], each.values[seen][inside], replicas, seed)
                figures = asdict(found) if found else {"rho": None, "low": None, "high": None}
                yield {
                    "role": each.role,
                    "centred": each.centred,
                    "counted": name,
                    "tokens_of": of,
                    "n": int(inside.sum()),
                    **figures,
                }


def binned(counts: NDArray[np.int64], norms: Floats) -> list[dict[str, Any]]:
    """Mean and quartiles of the norm in bins of like ratio over the count; empty ones are left out.

    Args:
        counts: of the types that enter, each at least 1.
        norms: theirs.
    """
    steps = np.arange(0, BINS_PER_DECADE * (np.log10(counts.max()) + 1) + 1)
    # Counts are whole: bins that hold the same ones are one.
    edges = np.unique(np.ceil(10 ** (steps / BINS_PER_DECADE)).astype(int))
    found = []
    for low, high in itertools.pairwise(edges):
        inside = (low <= counts) & (counts < high)
        if inside.any():
            quartiles = np.quantile(norms[inside], (0.25, 0.5, 0.75))
            found.append(
                {
                    "low": int(low),
                    "high": int(high),
                    "count": float(np.exp(np.log(counts[inside]).mean())),
                    "n": int(inside.sum()),
                    "mean": float(norms[inside].mean()),
                    "quartiles": quartiles.tolist(),
                }
            )
    return found
