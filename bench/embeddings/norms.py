"""Norm and frequency: are the embeddings of frequent tokens closer to the origin?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.embeddings.frequency import Counts, content_words, is_word, token_texts
from bench.embeddings.matrices import INPUT, OUTPUT, Matrices, row_norms
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
COLUMNS = {
    "norm": (INPUT, False),
    "norm_centred": (INPUT, True),
    "output_norm": (OUTPUT, False),
    "output_norm_centred": (OUTPUT, True),
}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Norms:
    """Norms by token type: float64, (vocabulary,), NaN for none.

    The role is `input` or `output` for the rows of that embedding, `states` for the last block's
    output. Centred ones are relative to the mean row of the types that occur.
    """

    role: str
    centred: bool
    values: Floats


def all_norms(matrices: Matrices, seen: Sequence[int]) -> list[Norms]:
    """The norms of each matrix, relative to 0 and to the mean row of the types `seen`.

    The order of norms depends on the origin, since a direction common to all rows adds to some
    norms more than to others.
    """
    found = []
    for role, matrix in matrices.roles.items():
        mean = matrix[list(seen)].float().mean(dim=0)
        for centred, centre in ((False, None), (True, mean)):
            values = row_norms(matrix, centre).double().numpy()
            found.append(Norms(role, centred, values))
    return found


@torch.inference_mode()
def state_norms(model: Any, prompts: Iterable[Sequence[int]], vocabulary: int) -> Norms:
    """The mean norm of the last block's output over the positions of each type.

    HELM (arXiv 2505.24722) compares words by it. The states are taken before the final norm, after
    which all have nearly one length. First positions are left out, which attention makes unlike all
    others. Norms are of space coordinates for a model on a hyperboloid, and NaN for types in no
    prompt.
    """
    total, times = np.zeros(vocabulary), np.zeros(vocabulary)
    device = next(model.parameters()).device
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    blocks = max(lists, key=len)
    seen: list[torch.Tensor] = []
    handle = blocks[-1].register_forward_hook(
        lambda block, given, made: seen.append(made[0] if isinstance(made, tuple) else made)
    )
    try:
        for ids in prompts:
            given = torch.tensor([list(ids)], device=device)
            model(input_ids=given, use_cache=False, logits_to_keep=1)
            norms = seen.pop()[0, 1:].float().norm(dim=-1).cpu().numpy()
            np.add.at(total, list(ids)[1:], norms)
            np.add.at(times, list(ids)[1:], 1)
    finally:
        handle.remove()
    return Norms(
        "states", False, np.divide(total, times, np.full(vocabulary, np.nan), where=times > 0)
    )


def token_rows(
    tokenizer: Any, counts: Counts, pretraining: Counts | None, norms: Sequence[Norms]
) -> list[dict[str, Any]]:
    """A row for each type that occurs, the most frequent first.

    `pretraining` has the counts in the pretraining text, if known; `norms` are those of
    `all_norms`.
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

    The tokenizer has `entries`; further rows of the embedding are padding.
    """
    values = norms.values[:entries][counts.total[:entries] == 0]
    return {
        "tokens": len(values),
        "norm_mean": float(values.mean()) if len(values) else None,
        "norm_sd": float(values.std()) if len(values) else None,
    }


def word_groups(tokenizer: Any, counts: Counts, norms: Floats) -> list[dict[str, Any]]:
    """The paper's word groups with frequencies and norms, (vocabulary,).

    A word is represented by the most frequent of its forms that are a single token: with and
    without a space before it, capitalised or not. Words without one, that never occur or have no
    norm are listed as missing.
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

    `counted` has counts by their source. Types without a norm are left out.

    Yields:
        Rows with `role`, `centred`, `counted`, `tokens_of`, `n`, `rho`, `low`, `high`. `tokens_of`
        is `all`; `frequent`, from FREQUENT occurrences on; or `content`, of these the content
        words.
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
    """Mean and quartiles of norms in the non-empty logarithmic bins of counts, each at least 1."""
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
