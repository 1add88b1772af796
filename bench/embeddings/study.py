"""The study told in one screen: from a base and its problems to plain data for tables and figures.

What it returns is JSON, in this shape:

    model       {name, published, dimension, vocabulary, tied, front, input_scale}
                  published: the base's name in the published tables, or null
                  tied: whether the output reads with the input's embedding
                  front: the token that the tokenizer puts before a text, or null
                  input_scale: what the model multiplies its input embedding by (Gemma: the root of
                  its dimension), null where it does more; the study takes the matrix as it is
    data        {source, rows, sets: {key: {label, rows, tokens, types}}, prompts: {key: {label,
                 prompts, too_long}}}
                  sets: whose texts are counted; rows: "tests" or "train", which rows those are
    settings    of the study, as given
    frequency   [{set, label, tokens, types, gamma, ..., counts: [[count, types with it], ...]},
                 ...]
                  a row for each set, one for all (`together`), and where the text that the base was
                  pretrained on is known one for that (`pretraining`); figures are `power_law`'s
    tokens      [{id, text, count, pretraining, norm, norm_centred, output_norm,
                  output_norm_centred, word, content}, ...]
                  every type that occurs in the texts at least once, the most frequent first.
                  text: as it stands in a text, with the space before it
                  pretraining: its count in the pretraining text, or null
                  *_centred: norm of the row less the mean one; output_*: null where tied
                  word: in most of its places the token is a whole word of letters
                  content: a word of at least three letters that is no function word
    unseen      {tokens, norm_mean, norm_sd}: types that occur nowhere, which enter nothing else
    norms       {groups, state_groups, correlations, bins}
      groups        as `word_groups` gives them: the paper's G1 to G4, their words and those missing
      state_groups  the same by the mean norms of what the last block gives out in the prompts
      correlations  as `correlations` gives them
      bins          [{role, centred, counted, low, high, count, n, mean, quartiles}, ...]
                      over the count, low <= count < high; counted: "texts" or "pretraining"
    spaces      as `space_deltas` gives them: values for each drawn space, by three measures
    prompts     as `prompt_deltas` gives them, with `label`: lists of a value for each prompt of a
                  set, of `embeddings`, `gaussian` and `shuffled`, for each metric and base point
    hidden      the same of the last hidden layer (`states` in place of `embeddings`), with `model`,
                  `method`, `curvature` and `run` of each base and adapter
    layers      [{model, method, curvature, run, layers}, ...]: as bench.embeddings.layers has them
    disk        words and their places, as bench.embeddings.disk.layout gives them
    seconds     {part: seconds}
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np

from bench import tasks
from bench.data.problems import Problem
from bench.embeddings import hidden, prompts
from bench.embeddings.disk import layout, most_frequent
from bench.embeddings.frequency import Counts, count_tokens, power_law, sum_of, text_of
from bench.embeddings.hidden import Tuned
from bench.embeddings.layers import layer_inputs
from bench.embeddings.matrices import in_front, input_scale, matrices_of
from bench.embeddings.norms import all_norms, binned, correlations, word_groups
from bench.embeddings.settings import Sources, StudySettings
from bench.embeddings.spaces import reference_spaces, space_deltas
from bench.embeddings.states import state_norms
from bench.embeddings.tokens import token_rows, unseen
from bench.errors import InputError
from bench.models.loading import context_length
from bench.progress import Progress

TOGETHER, PRETRAINING = "together", "pretraining"
TEXTS = "texts"
LAYER_PROMPTS = 64  # in all: of the inputs of every layer as many say enough


def study(
    base: Any, tokenizer: Any, sources: Sources, tuned: Sequence[Tuned], settings: StudySettings
) -> dict[str, Any]:
    """Measure a base, and what fine-tuning made of it.

    Args:
        base: a causal language model in eval mode.
        tokenizer: its tokenizer.
        sources: texts and prompts.
        tuned: models on the same base after fine-tuning; each is loaded when its turn comes.
        settings: how much.

    Returns:
        Plain data, as this file's docstring has it, without `model.name` and `model.published`.
    """
    clock, seed = _Clock(), settings.seed
    matrices = matrices_of(base)
    vocabulary, dimension = matrices.input.shape
    with clock("counts"):
        by_set = {
            key: count_tokens(tokenizer, [text_of(row) for row in rows], vocabulary)
            for key, rows in sources.counted.items()
        }
        counts = sum_of(list(by_set.values()))
        counted = {TEXTS: counts}
        if sources.pretraining is not None:
            counted[PRETRAINING] = count_tokens(tokenizer, sources.pretraining, vocabulary)
    with clock("frequency"):
        frequency = list(_frequency(by_set, counted, settings))
    encoded, too_long = _encoded(tokenizer, sources.tests, base, settings)
    with clock("norms"):
        norms = all_norms(matrices, counts.seen.tolist())
        states = state_norms(base, chain.from_iterable(encoded.values()), vocabulary)
        tokens = token_rows(tokenizer, counts, counted.get(PRETRAINING), norms)
        related = correlations([*norms, states], counted, tokenizer, settings.replicas, seed)
        against = {
            "groups": word_groups(tokenizer, counts, norms[0].values),
            "state_groups": word_groups(tokenizer, counts, states.values),
            "correlations": list(related),
            "bins": list(_bins(norms, counted)),
        }
    kinds = reference_spaces(dimension)
    with clock("spaces"), _bar("reference spaces", len(kinds) * settings.samples) as told:
        spaces = list(space_deltas(kinds, settings.points, settings.samples, seed, told))
    total = sum(map(len, encoded.values()))
    with clock("prompts"), _bar("delta of prompts", prompts.clouds_of(total)) as told:
        special = tokenizer.all_special_ids
        found = prompts.prompt_deltas(matrices.input, encoded, special, seed, told)
        of_prompts = [row | {"label": _label(row["set"])} for row in found]
    of_hidden, of_layers = [], []
    models = [Tuned("base model", "none", None, None, lambda: base), *tuned]
    some = [row for rows in encoded.values() for row in rows[: LAYER_PROMPTS // len(encoded)]]
    work = len(models) * (hidden.clouds_of(total) + len(some))
    with clock("layers"), _bar("layers, base and fine-tuned", work) as told:
        for tuned_model in models:
            model = tuned_model.load()
            for row in hidden.hidden_deltas(model, encoded, seed, told):
                of_hidden.append(tuned_model.facts | {"label": _label(row["set"])} | row)
            inputs = layer_inputs(model, some, told=told)
            of_layers.append(tuned_model.facts | {"layers": [asdict(layer) for layer in inputs]})
    with clock("disk"):
        disk = _disk(matrices.input, tokens, settings.words)
    front = in_front(tokenizer)
    return {
        "model": {
            "dimension": dimension,
            "vocabulary": len(tokenizer),
            "tied": matrices.output is None,
            "front": None if front is None else tokenizer.convert_ids_to_tokens(front),
            "input_scale": input_scale(base, int(counts.seen[0])),
        },
        "data": {
            "source": sources.name,
            "rows": settings.rows,
            "sets": {
                key: {
                    "label": _label(key),
                    "rows": len(sources.counted[key]),
                    "tokens": int(each.total.sum()),
                    "types": len(each.seen),
                }
                for key, each in by_set.items()
            },
            "prompts": {
                key: {"label": _label(key), "prompts": len(rows), "too_long": too_long[key]}
                for key, rows in encoded.items()
            },
        },
        "settings": asdict(settings),
        "frequency": frequency,
        "tokens": tokens,
        "unseen": unseen(sum_of(list(counted.values())), len(tokenizer), norms[0]),
        "norms": against,
        "spaces": spaces,
        "prompts": of_prompts,
        "hidden": of_hidden,
        "layers": of_layers,
        "disk": disk,
        "seconds": clock.seconds,
    }


def _frequency(
    by_set: Mapping[str, Counts], counted: Mapping[str, Counts], settings: StudySettings
) -> Iterator[dict[str, Any]]:
    """The row of each set, of all together and of the pretraining text."""
    all_of = {**by_set, TOGETHER: counted[TEXTS]}
    labels = {TOGETHER: "all sets", PRETRAINING: "pretraining text"}
    if len(by_set) == 1:
        all_of.pop(TOGETHER)
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
    """The most frequent whole words where the disk has them."""
    words = [token for token in tokens if token["word"]]
    texts, counts = [word["text"] for word in words], [word["count"] for word in words]
    chosen = most_frequent(texts, counts, most)
    vectors = embedding[[words[i]["id"] for i in chosen]].float().cpu().numpy()
    return layout([texts[i].strip() for i in chosen], [counts[i] for i in chosen], vectors)


def _bins(norms: Sequence[Any], counted: Mapping[str, Counts]) -> Iterator[dict[str, Any]]:
    for name, counts in counted.items():
        seen = counts.seen
        for each in norms:
            about = {"role": each.role, "centred": each.centred, "counted": name}
            yield from (about | bin for bin in binned(counts.total[seen], each.values[seen]))


def _encoded(
    tokenizer: Any, tests: Mapping[str, Sequence[Problem]], base: Any, settings: StudySettings
) -> tuple[dict[str, list[list[int]]], dict[str, int]]:
    """The prompts of each test set as tokens, and how many were too long to be measured."""
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
            f"no prompt of at most {longest} tokens in {', '.join(tests)}: give action.longest=N"
        )
    return kept, too_long


def _label(key: str) -> str:
    task = tasks.find(key)
    return task.label if task else key


class _Clock:
    """Seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - began


@contextmanager
def _bar(title: str, total: int) -> Iterator[Any]:
    with Progress(title, total, "cloud") as progress:
        yield progress.update
