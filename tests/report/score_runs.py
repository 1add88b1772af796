"""Records of finished runs and selections of them, made up for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.names import curvature_rank, method_label, method_rank
from bench.report.selection import Group, Selection
from bench.report.spec import TableSpec
from bench.tracking.sweeps import Contrast, SweepRecord, SweepRow

SETS = {"mawps": ("MAWPS", 100), "SVAMP": ("SVAMP", 300)}
SPEC = TableSpec(name="toy", title="Toy")


def finished(
    method: str = "lora",
    seed: int | None = 0,
    correct: Sequence[int] = (90, 240),
    curvature: float | str | None = None,
    sets: Mapping[str, tuple[str, int]] = SETS,
    **changes: Any,
) -> dict[str, Any]:
    """The record of a run; on each set the first `correct` answers are right."""
    trained = method != "none"
    scores = {
        key: score("1" * right + "0" * (n - right), label)
        for (key, (label, n)), right in zip(sets.items(), correct, strict=True)
    }
    made = {
        "result_version": 3,
        "method": method,
        "curvature": curvature,
        "seed": seed if trained else None,
        "model": "tiny",
        "published_base": None,
        "data": "synthetic",
        "split": "test",
        "protocol": "fast",
        "scores": scores,
        "parameters": {"trainable": 20_000 if trained else 0, "total": 2_000_000},
        "seconds": {"finetune": 41.2 if trained else None, "evaluate": 6.3},
        "device": "cpu",
        "versions": {"python": "3.11"},
        "git": {"commit": "a" * 40, "dirty": False},
        "train": {"lr": 0.01, "epochs": 3, "precision": "32"},
        "rows": {"train": 1500 if trained else 0, "train_too_long": 0},
        "training": {"padding": 0.07} if trained else {},
        "options": {},
        "overlap": None,
        "data_files": {},
        "hashes": {"base": "base", "tests": "tests"} | ({"train": "train"} if trained else {}),
        "config": {"protocol": {"evaluation_prompt": "{instruction}"}, "model": {"dtype": "auto"}},
    } | changes
    name = f"{method}-{curvature}-{made['seed']}-{made['options']}"
    return {"identity": name, "run_id": f"run-{name}"} | made


def score(outcomes: str, label: str) -> dict[str, Any]:
    """The score of a set, from a 1 for each right answer and a 0 for each other."""
    n, right = len(outcomes), outcomes.count("1")
    return {
        "label": label,
        "n": n,
        "correct": right,
        "outcomes": outcomes,
        "accuracy": 100 * right / n,
        "format_rate": 98.0,
        "too_long": 0,
        "chance": None,
        "rule": "number/1",
        "tokens": 50 * n,
        "majority": {"answer": "7", "accuracy": 4.0},
    }


def answered(
    method: str = "lora",
    seed: int | None = 0,
    draws: Any = None,
    items: int = 120,
    chances: Mapping[str, float] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A run with random answers, of a generator or its seed, that are right with some chance."""
    draws = np.random.default_rng([0, seed or 0, len(method)] if draws is None else draws)
    texts = {
        key: "".join("01"[hit] for hit in (draws.random(items) < chance).astype(int))
        for key, chance in (chances or {"mawps": 0.7}).items()
    }
    found = finished(method, seed, (), sets={}, **changes)
    return found | {"scores": {key: score(text, key) for key, text in texts.items()}}


def with_nll(runs: Sequence[dict[str, Any]], means: Mapping[str, float]) -> Any:
    """Runs with the NLL of each item around their method's mean, and what reads their lines."""
    written = {}
    for place, run in enumerate(runs):
        draws = np.random.default_rng([1, place])
        written[run["run_id"]] = [
            {"task": key, "index": index, "nll": means[run["method"]] * draws.uniform(0.5, 1.5)}
            for key, found in run["scores"].items()
            for index in range(found["n"])
        ]
    return [run | {"nll": {"micro": 1.0}} for run in runs], written.__getitem__


def selection(
    runs: Sequence[dict[str, Any]],
    spec: TableSpec = SPEC,
    contrasts: Sequence[tuple[str, str, str]] | None = None,
    remarks: Sequence[str] = (),
    **more: Any,
) -> Selection:
    """Runs in rows of one method, K and options.

    Contrasts are a heading and the labels of row and reference; None: each row vs. LoRA.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        key = json.dumps([run["method"], run["curvature"], run["options"]])
        rows.setdefault(key, []).append(run)
    methods = [members[0]["method"] for members in rows.values()]
    groups = []
    for key, members in rows.items():
        method, curvature, options = json.loads(key)
        named = curvature if methods.count(method) > 1 else None
        label = method_label(method, named, [str(value) for value in options.values()])
        ordered = sorted(members, key=lambda run: -1 if run["seed"] is None else run["seed"])
        rank = method_rank(method), curvature_rank(curvature)
        groups.append((rank, len(groups), Group(key, label, tuple(ordered))))
    found = tuple(group for *_, group in sorted(groups, key=lambda entry: entry[:2]))
    labels = {group.label: group.key for group in found}
    if contrasts is None and "LoRA" in labels:
        contrasts = [("vs. LoRA", n, "LoRA") for n in labels if n not in ("LoRA", "base model")]
    asked = tuple(Contrast(h, labels[row], labels.get(ref, ref)) for h, row, ref in contrasts or ())
    return replace(made_selection(spec, found, asked, remarks), **more)


def made_selection(
    spec: Any, groups: Sequence[Group], contrasts: Sequence[Contrast], remarks: Sequence[str] = ()
) -> Selection:
    """The selection of a sweep with these rows and contrasts, which may name other rows."""
    keys = {key: key for contrast in contrasts for key in (contrast.row, contrast.reference)}
    labels = keys | {group.key: group.label for group in groups}
    methods = {group.key: group.first.get("method") or group.first["model"] for group in groups}
    rows = tuple(SweepRow(key, label, methods.get(key, key)) for key, label in labels.items())
    sweep = SweepRecord(
        spec.name, "finetune", {}, (), rows, (), tuple(contrasts), remarks=tuple(remarks)
    )
    return Selection(spec, sweep, tuple(groups), total=sum(len(g.records) for g in groups))
