"""Norm and frequency: are the embeddings of frequent tokens closer to the origin?"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from bench.embeddings.frequency import Counts, content_words, is_word, token_texts
from bench.embeddings.matrices import INPUT, OUTPUT, row_norms

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
FEWEST = 10  # points needed for an interval
CHUNK = 2**21  # numbers resampled at once, 16 MiB
COLUMNS = {
    "norm": (INPUT, False),
    "norm_centred": (INPUT, True),
    "output_norm": (OUTPUT, False),
    "output_norm_centred": (OUTPUT, True),
}

Floats = NDArray[np.float64]


Norms = dict[tuple[str, bool], Floats]  # (vocabulary,), NaN for none, by role and whether centred


def all_norms(matrices: Mapping[str, torch.Tensor], seen: Sequence[int]) -> Norms:
    """The norms of each matrix, relative to 0 and to the mean row of the types `seen`.

    The order of norms depends on the origin, since a direction common to all rows adds to some
    norms more than to others.
    """
    found = {}
    for role, matrix in matrices.items():
        mean = matrix[list(seen)].float().mean(dim=0)
        for centred, centre in ((False, 0.0), (True, mean)):
            found[role, centred] = row_norms(matrix, centre).double().numpy()
    return found


@torch.inference_mode()
def state_norms(model: Any, prompts: Sequence[Sequence[int]], vocabulary: int) -> Floats:
    """The mean norm of the last block's output over the positions of each type, (vocabulary,).

    HELM (arXiv 2505.24722) compares words by it. The states are taken before the final norm, after
    which all have nearly one length. First positions are left out, which attention makes unlike all
    others. Norms are of space coordinates for a model on a hyperboloid, and NaN for types in no
    prompt.
    """
    device, norms = next(model.parameters()).device, []

    def hook(block: nn.Module, given: Any, made: Any) -> None:
        states = made[0] if isinstance(made, tuple) else made
        norms.append(states[0, 1:].float().norm(dim=-1).cpu())

    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    with max(lists, key=len)[-1].register_forward_hook(hook):
        for ids in prompts:
            given = torch.tensor([list(ids)], device=device)
            model(input_ids=given, use_cache=False, logits_to_keep=1)
    types = np.concatenate([ids[1:] for ids in prompts])
    total = np.bincount(types, torch.cat(norms).double(), minlength=vocabulary)
    with np.errstate(invalid="ignore"):
        return total / np.bincount(types, minlength=vocabulary)


def token_rows(
    tokenizer: Any, counts: Counts, pretraining: Counts | None, norms: Norms
) -> list[dict[str, Any]]:
    """A row for each type that occurs, the most frequent first.

    `pretraining` has the counts in the pretraining text, if known; `norms` are those of
    `all_norms`.
    """
    seen = counts.seen
    texts = token_texts(tokenizer, seen.tolist())
    words, content = is_word(counts, seen), content_words(counts, texts)
    return [
        {
            "id": int(token),
            "text": texts[place],
            "count": int(counts.total[token]),
            "pretraining": None if pretraining is None else int(pretraining.total[token]),
            **{
                name: float(norms[key][token]) if key in norms else None
                for name, key in COLUMNS.items()
            },
            "word": bool(words[place]),
            "content": bool(content[place]),
        }
        for place, token in enumerate(seen)
    ]


def unseen(counts: Counts, entries: int, norms: Floats) -> dict[str, float | int | None]:
    """The number of types that never occur, with mean and standard deviation of their norms.

    The tokenizer has `entries`; further rows of the embedding are padding.
    """
    values = norms[:entries][counts.total[:entries] == 0]
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
    found: list[dict[str, Any]] = []
    for name, members in GROUPS.items():
        words: list[dict[str, Any]] = []
        missing = []
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
        found.append({"group": name, "words": words, "missing": missing})
        for short, key in (("freq", "count"), ("norm", "norm")):
            values = [word[key] for word in words]
            for kind, of in (("mean", np.mean), ("min", min), ("max", max)):
                found[-1][f"{short}_{kind}"] = float(of(values)) if values else None
    return found


def correlations(
    norms: Norms, counted: Mapping[str, Counts], tokenizer: Any, replicas: int, seed: int
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
        for (role, centred), values in norms.items():
            for of, chosen in subsets.items():
                inside = chosen & np.isfinite(values[seen])
                yield {
                    "role": role,
                    "centred": centred,
                    "counted": name,
                    "tokens_of": of,
                    "n": int(inside.sum()),
                    **spearman(times[inside], values[seen][inside], replicas, seed),
                }


def bins(norms: Norms, counted: Mapping[str, Counts]) -> Iterator[dict[str, Any]]:
    """Mean and quartiles of norms in the non-empty logarithmic bins of the count."""
    for name, counts in counted.items():
        times = counts.total[counts.seen]
        steps = np.arange(0, BINS_PER_DECADE * (np.log10(times.max()) + 1) + 1)
        edges = np.unique(np.ceil(10 ** (steps / BINS_PER_DECADE)).astype(int))
        for (role, centred), values in norms.items():
            for low, high in itertools.pairwise(edges):
                inside = (low <= times) & (times < high)
                if inside.any():
                    found = values[counts.seen][inside]
                    yield {
                        "role": role,
                        "centred": centred,
                        "counted": name,
                        "low": int(low),
                        "high": int(high),
                        "count": float(np.exp(np.log(times[inside]).mean())),
                        "n": int(inside.sum()),
                        "mean": float(found.mean()),
                        "quartiles": np.quantile(found, (0.25, 0.5, 0.75)).tolist(),
                    }


def spearman(
    x: NDArray[Any], y: NDArray[Any], replicas: int = 1000, seed: int = 0
) -> dict[str, float | None]:
    """Spearman's `rho` of points x and y, (n,) each, with its 95% bootstrap interval `low`, `high`.

    All None for fewer than FEWEST points, or if all x or all y are equal.
    """
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return dict.fromkeys(("rho", "low", "high"))
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # A resample of equal points has no rho.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (x, y),
            _rho,
            n_resamples=replicas,
            batch=max(1, CHUNK // len(x)),
            paired=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    low, high = np.nanquantile(found, (0.025, 0.975))
    return {"rho": float(_rho(x, y)), "low": float(low), "high": float(high)}


def _rho(x: Any, y: Any, axis: int = -1) -> Any:
    middle = (x.shape[axis] + 1) / 2
    a, b = (stats.rankdata(values, axis=axis) - middle for values in (x, y))
    return np.vecdot(a, b) / np.sqrt(np.vecdot(a, a) * np.vecdot(b, b))
