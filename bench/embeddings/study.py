"""The whole study: from a base and its problems to plain data for tables and figures.

The result is JSON:

    model       {name, published, dimension, vocabulary, tied, front, input_scale}
                  published: the base's name in the published tables, or null
                  tied: whether input and output embedding are the same
                  front: the token that the tokenizer puts before a text, or null
                  input_scale: of `input_scale`; the study uses the matrix without it
    data        {source, rows, sets: {key: {label, rows, tokens, types}},
                 prompts: {key: {label, prompts, too_long}}}
                  rows: "tests" or "train", whose texts are counted
    settings    of the study
    frequency   [{set, label, tokens, types, gamma, ..., counts: [[count, types with it], ...]}]
                  of `power_law`, for each set, all (`together`) and the text that the base was
                  pretrained on, if known (`pretraining`)
    tokens      of `token_rows`: the types that occur, the most frequent first
                  text: with the space before a word
                  pretraining: its count in the pretraining text, or null
                  *_centred: relative to the mean row; output_*: null if tied
                  word, content: of `is_word` and `content_words`
    unseen      {tokens, norm_mean, norm_sd}: types that never occur, which nothing else includes
    norms       {groups, state_groups, correlations, bins}
                  groups: of `word_groups`; state_groups: with the norms of `state_norms`
                  bins: of `bins`; counted: "texts" or "pretraining"
    spaces      of `space_deltas`: values for each drawn space
    prompts     of `prompt_deltas`, with `label`: values for each prompt of a set
    hidden      of `hidden_deltas`, with `label` and the facts of the model
    layers      [{model, method, curvature, run, layers: of `layer_inputs`}, ...]
    disk        of bench.embeddings.disk.layout
    seconds     {part: seconds}
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from bench import tasks
from bench.data.problems import Problem
from bench.embeddings import norms
from bench.embeddings.deltas import (
    EMBEDDINGS,
    STATES,
    Tuned,
    cloud_count,
    hidden_deltas,
    prompt_deltas,
)
from bench.embeddings.disk import layout, most_frequent
from bench.embeddings.frequency import Counts, count_tokens, power_law, sum_of, text_of
from bench.embeddings.layers import layer_inputs
from bench.embeddings.matrices import INPUT, OUTPUT, input_scale, matrices_of, prefix_token
from bench.embeddings.spaces import reference_spaces, space_deltas
from bench.errors import InputError
from bench.fields import check_values
from bench.models.loading import context_length
from bench.progress import Progress

ROWS = ("tests", "train")
LEAST = {
    "prompts": 1,
    "longest": 4,  # any three points are a tree
    "points": 10,
    "samples": 1,
    "replicas": 100,
    "power_replicas": 0,
    "words": 1,
    "seed": 0,
}
TOGETHER, PRETRAINING = "together", "pretraining"
TEXTS = "texts"
LAYER_PROMPTS = 64  # for the inputs of every layer, in all


@dataclass(frozen=True)
class StudySettings:
    """How much is measured; conf/action/embeddings.yaml describes each setting."""

    rows: str = "tests"
    prompts: int = 50
    longest: int = 256
    points: int = 100
    samples: int = 10
    replicas: int = 1000
    power_replicas: int = 100
    words: int = 300
    seed: int = 0
    adapters: list[str] | None = None

    def __post_init__(self) -> None:
        check_values("action", self, least=LEAST, choices={"rows": ROWS})


@dataclass(frozen=True)
class Sources:
    """The texts of a study: rows whose tokens are counted, by set, and rows that serve as prompts.

    `pretraining` has documents that the base was pretrained on, if known.
    """

    name: str
    counted: Mapping[str, Sequence[Problem]]
    tests: Mapping[str, Sequence[Problem]]
    pretraining: Sequence[str] | None


def study(
    base: Any, tokenizer: Any, sources: Sources, tuned: Sequence[Tuned], settings: StudySettings
) -> dict[str, Any]:
    """Measure a base and fine-tuned models on it, which are loaded one after another.

    Returns:
        Plain data, see the module's docstring, without `model.name` and `model.published`.
    """
    seconds: dict[str, float] = {}
    timed, seed = partial(_timed, seconds), settings.seed
    matrices = matrices_of(base)
    vocabulary, dimension = matrices[INPUT].shape
    with timed("counts"):
        by_set = {
            key: count_tokens(tokenizer, [text_of(row) for row in rows], vocabulary)
            for key, rows in sources.counted.items()
        }
        counts = sum_of(list(by_set.values()))
        counted = {TEXTS: counts}
        if sources.pretraining is not None:
            counted[PRETRAINING] = count_tokens(tokenizer, sources.pretraining, vocabulary)
    with timed("frequency"):
        frequency = list(_frequency(by_set, counted, settings))
    prompts, too_long = _encode(tokenizer, sources.tests, base, settings)
    with timed("norms"):
        of_rows = norms.all_norms(matrices, counts.seen.tolist())
        of_input = of_rows[INPUT, False]
        states = norms.state_norms(base, list(chain.from_iterable(prompts.values())), vocabulary)
        tokens = norms.token_rows(tokenizer, counts, counted.get(PRETRAINING), of_rows)
        every = of_rows | {("states", False): states}
        related = norms.correlations(every, counted, tokenizer, settings.replicas, seed)
        of_norms = {
            "groups": norms.word_groups(tokenizer, counts, of_input),
            "state_groups": norms.word_groups(tokenizer, counts, states),
            "correlations": list(related),
            "bins": list(norms.bins(of_rows, counted)),
        }
    kinds = reference_spaces(dimension)
    with timed("spaces"), Progress("spaces", len(kinds) * settings.samples, "space") as bar:
        spaces = list(space_deltas(kinds, settings.points, settings.samples, seed, bar.update))
    total = sum(map(len, prompts.values()))
    work = cloud_count(total, EMBEDDINGS)
    with timed("prompts"), Progress("delta of prompts", work, "cloud") as bar:
        special = tokenizer.all_special_ids
        found = prompt_deltas(matrices[INPUT], prompts, special, seed, bar.update)
        of_prompts = [row | {"label": _label(row["set"])} for row in found]
    of_hidden, of_layers = [], []
    facts = {"model": "base model", "method": "none", "curvature": None, "run": None}
    models = [Tuned(facts, lambda: base), *tuned]
    some = [row for rows in prompts.values() for row in rows[: LAYER_PROMPTS // len(prompts)]]
    work = len(models) * (cloud_count(total, STATES) + len(some))
    with timed("layers"), Progress("layers, base and fine-tuned", work, "cloud") as bar:
        for each in models:
            model = each.load()
            for row in hidden_deltas(model, prompts, seed, bar.update):
                of_hidden.append(each.facts | {"label": _label(row["set"])} | row)
            of_layers.append(each.facts | {"layers": layer_inputs(model, some, bar.update)})
    with timed("disk"):
        disk = _disk(matrices[INPUT], tokens, settings.words)
    return {
        "model": {
            "dimension": dimension,
            "vocabulary": len(tokenizer),
            "tied": OUTPUT not in matrices,
            "front": prefix_token(tokenizer),
            "input_scale": input_scale(base, int(counts.seen[0])),
        },
        "data": {
            "source": sources.name,
            "rows": settings.rows,
            "sets": {
                key: {
                    "label": _label(key),
                    "rows": len(sources.counted[key]),
                    "tokens": int(own.total.sum()),
                    "types": len(own.seen),
                }
                for key, own in by_set.items()
            },
            "prompts": {
                key: {"label": _label(key), "prompts": len(prompts.get(key, ())), "too_long": count}
                for key, count in too_long.items()
            },
        },
        "settings": asdict(settings),
        "frequency": frequency,
        "tokens": tokens,
        "unseen": norms.unseen(sum_of(list(counted.values())), len(tokenizer), of_input),
        "norms": of_norms,
        "spaces": spaces,
        "prompts": of_prompts,
        "hidden": of_hidden,
        "layers": of_layers,
        "disk": disk,
        "seconds": seconds,
    }


def _frequency(
    by_set: Mapping[str, Counts], counted: Mapping[str, Counts], settings: StudySettings
) -> Iterator[dict[str, Any]]:
    """The row of each set, of all together and of the pretraining text."""
    all_of = dict(by_set)
    labels = {TOGETHER: "all sets", PRETRAINING: "pretraining text"}
    if len(by_set) > 1:
        all_of[TOGETHER] = counted[TEXTS]
    if PRETRAINING in counted:
        all_of[PRETRAINING] = counted[PRETRAINING]
    for key, each in all_of.items():
        values, types = np.unique(each.total[each.total > 0], return_counts=True)
        yield {
            "set": key,
            "label": labels.get(key) or _label(key),
            "tokens": int(each.total.sum()),
            "types": len(each.seen),
            **power_law(each, settings.power_replicas, settings.seed),
            "counts": [[int(value), int(n)] for value, n in zip(values, types, strict=True)],
        }


def _disk(embedding: Any, tokens: Sequence[Mapping[str, Any]], most: int) -> dict[str, Any]:
    """The layout of the most frequent whole words."""
    words = [token for token in tokens if token["word"]]
    texts, counts = [word["text"] for word in words], [word["count"] for word in words]
    chosen = most_frequent(texts, counts, most)
    vectors = embedding[[words[i]["id"] for i in chosen]].float().cpu().numpy()
    return layout([texts[i].strip() for i in chosen], [counts[i] for i in chosen], vectors)


def _encode(
    tokenizer: Any, tests: Mapping[str, Sequence[Problem]], base: Any, settings: StudySettings
) -> tuple[dict[str, list[list[int]]], dict[str, int]]:
    """The prompts of each test set as tokens, and the number of those that are too long."""
    longest = min(settings.longest, context_length(base))
    encoded, too_long = {}, {}
    for key, rows in tests.items():
        texts = [text_of(row) for row in rows[: settings.prompts]]
        ids = tokenizer(texts)["input_ids"]
        encoded[key] = [row for row in ids if 4 <= len(row) <= longest]
        too_long[key] = sum(len(row) > longest for row in ids)
    kept = {key: rows for key, rows in encoded.items() if rows}
    if not kept:
        raise InputError(
            f"no prompt in {', '.join(tests)} has at most {longest} tokens: raise action.longest"
        )
    return kept, too_long


def _label(key: str) -> str:
    task = tasks.find(key)
    return task.label if task else key


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[part] = time.perf_counter() - start
