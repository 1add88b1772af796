"""Norm and frequency: are the embeddings of frequent tokens closer to the origin?"""

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
FREQUENT = 20  # occurrences from which a count is a useful estimate of the frequency
BINS_PER_DECADE = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Norms:
    """Norms by token type.

    Attributes:
        role: `input` or `output` for the rows of that embedding; `states` for the last block's
            output.
        centred: whether they are relative to the mean row of the types that occur.
        values: float64, (vocabulary,); NaN for none.
    """

    role: str
    centred: bool
    values: Floats


def all_norms(matrices: Matrices, seen: Sequence[int]) -> list[Norms]:
    """The norms of each matrix, relative to 0 and to the mean row of the types that occur.

    The order of norms depends on the origin, since a direction common to all rows adds to some
    norms more than to others.

    Args:
        matrices: of the model.
        seen: the types that occur.
    """
    found = []
    for role, matrix in matrices.roles.items():
        mean = matrix[list(seen)].float().mean(dim=0)
        for centred, centre in ((False, None), (True, mean)):
            values = row_norms(matrix, centre).double().numpy()
            found.append(Norms(role, centred, values))
    return found


def word_groups(tokenizer: Any, counts: Counts, norms: Floats) -> list[dict[str, Any]]:
    """The paper's word groups with frequencies and norms.

    A word is represented by the most frequent of its forms that are a single token: with and
    without a space before it, capitalised or not. Words without one, that never occur or have no
    norm are listed as missing.

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
            token = max(single, key=lambda one: counts.total[one], default=None)
            if token is None:
                missing.append({"word": word, "why": f"{len(encoded[0])} tokens"})
            elif not counts.total[token]:
                missing.append({"word": word, "why": "not in the texts"})
            elif np.isnan(norms[token]):
                missing.append({"word": word, "why": "not in the prompts"})
            else:
                (text,), count = token_texts(tokenizer, [token]), int(counts.total[token])
                norm = float(norms[token])
                words.append({"word": word, "text": text, "count": count, "norm": norm})
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
    """Spearman's rho between count and norm over the types that occur and over subsets.

    Args:
        norms: of `all_norms`; types without one are left out.
        counted: counts by their source.
        tokenizer: of the types.
        replicas: of the bootstrap.
        seed: of the bootstrap.

    Yields:
        Rows with `role`, `centred`, `counted`, `tokens_of`, `n`, `rho`, `low`, `high`.
        `tokens_of` is `all`; `frequent`, from FREQUENT occurrences on; or `content`, of these the
        content words.
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
                yield {
                    "role": each.role,
                    "centred": each.centred,
                    "counted": name,
                    "tokens_of": of,
                    "n": int(inside.sum()),
                    **(asdict(found) if found else {"rho": None, "low": None, "high": None}),
                }


def binned(counts: NDArray[np.int64], norms: Floats) -> list[dict[str, Any]]:
    """Mean and quartiles of the norm in the non-empty logarithmic bins of the count.

    Args:
        counts: of types, each at least 1.
        norms: of the same types.
    """
    steps = np.arange(0, BINS_PER_DECADE * (np.log10(counts.max()) + 1) + 1)
    edges = np.unique(np.ceil(10 ** (steps / BINS_PER_DECADE)).astype(int))
    found = []
    for low, high in itertools.pairwise(edges):
        inside = (low <= counts) & (counts < high)
        if inside.any():
            found.append(
                {
                    "low": int(low),
                    "high": int(high),
                    "count": float(np.exp(np.log(counts[inside]).mean())),
                    "n": int(inside.sum()),
                    "mean": float(norms[inside].mean()),
                    "quartiles": np.quantile(norms[inside], (0.25, 0.5, 0.75)).tolist(),
                }
            )
    return found
