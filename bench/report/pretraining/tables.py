"""The tables of a report on pretraining."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.comparison import Comparison
from bench.report.pretraining.rows import PretrainedRow, over_seeds
from bench.report.tables import Cell, Column, Row, Table

SHARES = ("acc", "exact_match", "f1")  # prefixes of metrics that are shares


def main_table(rows: Sequence[PretrainedRow]) -> Table:
    """Sizes, tokens, speed and bits per byte."""
    columns = (
        Column("parameters", "Parameters", ","),
        Column("without_vocabulary", "without vocabulary", ","),
        Column("tokens", "Tokens", ","),
        Column("tokens_per_second", "Tokens/s", ",.0f"),
        Column("utilisation", "MFU", ".0%"),
        Column("bits_per_byte", "Bits per byte [95% interval]", ".4f", show="range"),
    )
    first = rows[0].first["training"]
    notes = (
        f"Bits per byte of {first['held_out_documents']:,} held-out documents "
        f"({first['held_out_bytes']:,} bytes): bits of a document's text (without its end token) "
        "divided by its bytes in UTF-8. Lower is better. Mean over seeds with Student's interval "
        "over seeds, on this text.",
        "Tokens/s: training steps only, mean over seeds; other processes on the machine lower it.",
        "MFU: arithmetic of the model relative to a large matrix product on this device, "
        f"{rows[0].mean_of('matmul_flops_per_second') / 1e9:,.0f} GFLOP/s. Per token: "
        f"{first['flops_formula']}.",
    )
    lines = tuple(Row((row.label,), _main_cells(row), keys={"model": row.model}) for row in rows)
    return Table("main", "Bits per byte of held-out text", columns, lines, ("Model",), notes)


def _main_cells(row: PretrainedRow) -> dict[str, Cell]:
    training = row.first["training"]
    return {
        "parameters": Cell(training["parameters"]["total"]),
        "without_vocabulary": Cell(training["parameters"]["without_vocabulary"]),
        "tokens": Cell(training["tokens"]),
        "bits_per_byte": row.bits,
        **{
            key: over_seeds({seed: record[key] for seed, record in row.records.items()})
            for key in ("tokens_per_second", "utilisation")
        },
    }


def twin_table(found: Sequence[Comparison]) -> Table:
    """The differences to the twins, paired by seed."""
    columns = (
        Column("difference", "Verdict", show="verdict"),
        Column("difference", "Difference [95% interval]", "+z.4f", show="range"),
        Column("difference", "p (Holm)", show="p"),
        *(Column(f"seed_{seed}", f"seed {seed}", "+.4f") for seed in _seeds(found)),
    )
    rows = tuple(
        Row(
            (each.label, each.reference_label),
            {
                "difference": Cell(
                    each.difference,
                    low=each.low,
                    high=each.high,
                    n=each.n,
                    p=each.p_holm,
                    verdict=each.verdict,
                ),
                **{f"seed_{seed}": Cell(value) for seed, value in each.by_seed.items()},
            },
        )
        for each in found
    )
    notes = [
        "Bits per byte of the model minus its twin's at equal seeds. Both saw the same tokens in "
        "the same order (checked by a hash). Negative: the model is better.",
        "The test accounts for variation between seeds and between held-out documents; verdicts "
        f"follow p (Holm) at 5%. With {len(_seeds(found))} seeds the variation between runs has "
        "2 to 4 degrees of freedom, so the intervals are wide if runs differ.",
        "The comparison holds for this size, text, number of tokens and these learning rates; "
        "warm-up was not tuned. Each model is initialised as in its own code (embeddings with a "
        "standard deviation of 1 in HELM, 0.02 in its twins); norms, residuals and gains differ "
        "as well. After so short a training these may decide; the difference is no evidence for "
        "curvature.",
    ]
    notes += [f"{each.label}: {each.why}." for each in found if each.why]
    names = ("Model", "Twin")
    return Table("twins", "vs. the Euclidean twin", columns, rows, names, tuple(notes))


def _seeds(found: Sequence[Comparison]) -> list[int]:
    return sorted({seed for each in found for seed in each.seeds})


def routing_table(rows: Sequence[PretrainedRow]) -> Table | None:
    """The load of each expert after training, by block; None if no model has experts."""
    lines, most, first = [], 0, rows[0].first["training"]["layers"]
    for row in rows:
        runs = [record["training"]["layers"]["routing"] for record in row.records.values()]
        for place, layer in enumerate(runs[0]):
            loads = np.array([run[place]["load"] for run in runs])
            entropy = float(np.mean([run[place]["entropy"] for run in runs]))
            cells = {
                f"expert_{i}": Cell(
                    float(loads[:, i].mean()), low=float(loads[:, i].min()), high=float(top)
                )
                for i, top in enumerate(loads.max(axis=0))
            }
            lines.append(Row((row.label, str(layer["block"])), cells | {"entropy": Cell(entropy)}))
            most = max(most, len(cells))
    if not lines:
        return None
    columns = (
        *(Column(f"expert_{i}", f"Expert {i}", ".0%", show="range") for i in range(most)),
        Column("entropy", "Entropy", ".3f"),
    )
    notes = (
        "Share of the tokens routed to each expert after training, on "
        f"{first['tokens']:,} held-out tokens: mean over seeds, smallest and largest in brackets. "
        "Entropy of the load relative to an even one.",
        "Both models update their router's biases by HELM's rule after each step; HELM-MiCE also "
        "has a small balance loss. DeepSeek-V3 scores by a sigmoid and normalises the weights of "
        "the selected experts; HELM-MiCE uses a softmax over all, as its code does.",
    )
    names = ("Model", "Block")
    return Table("routing", "Expert load", columns, tuple(lines), names, notes)


def curvature_table(rows: Sequence[PretrainedRow]) -> Table | None:
    """Curvature parameters before and after training; None if none is learned."""
    lines = []
    for row in rows:
        runs = [curvatures(record) for record in row.records.values()]
        for place, (name, start, _) in enumerate(runs[0]):
            ends = [run[place][2] for run in runs]
            if name != "stream":
                end = Cell(float(np.mean(ends)), low=min(ends), high=max(ends))
                lines.append(Row((row.label, _expert(name)), {"start": Cell(start), "end": end}))
    if not lines:
        return None
    columns = (
        Column("start", "K at start", ".3f"),
        Column("end", "K at end [range over seeds]", ".3f", show="range"),
    )
    notes = ("The sectional curvature is -1/K. The stream's K is 1 and not learned.",)
    names = ("Model", "Expert")
    return Table("curvatures", "Learned curvatures", columns, tuple(lines), names, notes)


def initialisation_table(rows: Sequence[PretrainedRow]) -> Table:
    """Similarity of tokens before and after training, layer by layer."""
    lines, depth, blocks = [], 0, 0
    for row in rows:
        after = mean_layers([r["training"]["layers"] for r in row.records.values()])
        states = {f"{n} at start": v for n, v in initialisations(row).items()}
        for name, layers in (states | {"after training": after}).items():
            similarity, entropy = layers["similarity"], layers["entropy"]
            cells = {f"layer_{i}": Cell(value) for i, value in enumerate(similarity)}
            cells |= {f"entropy_{i}": Cell(value) for i, value in enumerate(entropy)}
            lines.append(Row((row.label, name.replace("own at", "at")), cells))
            depth, blocks = max(depth, len(similarity)), max(blocks, len(entropy))
    columns = (
        *(Column(f"layer_{i}", f"cosine {i}", ".2f") for i in range(depth)),
        *(Column(f"entropy_{i}", f"entropy {i + 1}", ".2f") for i in range(blocks)),
    )
    notes = (
        "cosine: mean over all pairs of different tokens, of the input of each block and, last, of "
        "the head's input; for HELM of the space coordinates. entropy: of the routing, as above, "
        "of each block with experts. Means over seeds.",
        "public: weights as the public code draws them. balanced: the same with zero time "
        "coordinates, the default here and what was trained unless a row says otherwise.",
    )
    names = ("Model", "Weights")
    return Table("similarity", "Similarity of tokens", columns, tuple(lines), names, notes)


def tasks_table(rows: Sequence[PretrainedRow], chance: Mapping[str, float]) -> Table | None:
    """The models on lm-eval's tasks; None if none was evaluated.

    Args:
        rows: of the report.
        chance: percent that guessing gets, by a task's name.
    """
    lines: list[Row] = []
    shots = set()
    for task, metric in dict.fromkeys(pair for row in rows for pair in _pairs(row)):
        share = metric.startswith(SHARES)
        for row in rows:
            found = dict(_metric(row, task, metric))
            if found:
                scale = 100.0 if share else 1.0
                values = {seed: scale * value for seed, (value, _) in found.items()}
                items = next(iter(found.values()))[1]["n"]
                lines.append(Row((task, metric, row.label), {"value": over_seeds(values, items)}))
                shots |= {task_result["fewshot"] for _, task_result in found.values()}
        if share and task in chance:
            lines.append(Row((task, metric, "chance"), {"value": Cell(chance[task])}))
    if not lines:
        return None
    columns = (Column("value", "Value [95% interval]", ".4g", show="range"),)
    shown = ", ".join(str(number) for number in sorted(shots, key=str))
    notes = (
        "lm-eval's tasks with their own prompts, of the finished models; "
        f"few-shot examples: {shown}. Shares in percent, other metrics as they are.",
        "Means over seeds with Student's interval over seeds, on these items.",
    )
    names = ("Task", "Metric", "Model")
    return Table("tasks", "Tasks of lm-eval", columns, tuple(lines), names, notes, grouped=True)


def _pairs(row: PretrainedRow) -> Iterator[tuple[str, str]]:
    """Task and metric of everything that a row was evaluated on."""
    for record in row.records.values():
        for asked in record.get("lm_eval", {}).values():
            for task, found in asked["tasks"].items():
                yield from ((task, metric) for metric in found["metrics"])


def _metric(
    row: PretrainedRow, task: str, metric: str
) -> Iterator[tuple[int, tuple[float, Mapping[str, Any]]]]:
    """By seed a metric's value and the task that it belongs to."""
    for seed, record in row.records.items():
        for asked in record.get("lm_eval", {}).values():
            found = asked["tasks"].get(task)
            if found and metric in found["metrics"]:
                yield seed, (found["metrics"][metric]["value"], found)


def published_table(published: Mapping[str, Any]) -> Table:
    """The paper's accuracies."""
    tasks = published["chance"]
    columns = (
        *(Column(task, published["labels"][task]) for task in tasks),
        Column("average", "Printed average"),
        Column("mean", "Mean of the entries", ".2f"),
    )
    shown = [*published["rows"], {"model": "Chance", "size": "", **tasks}]
    rows = tuple(
        Row(
            (row["model"], row["size"]),
            {
                **{task: Cell(row[task]) for task in tasks},
                "average": Cell(row.get("average")),
                "mean": Cell(float(np.mean([row[task] for task in tasks]))),
            },
        )
        for row in shown
    )
    notes = (f"Accuracy in percent. {published['source']}.", *published["notes"])
    return Table("published", "The paper's", columns, rows, ("Model", "Size"), notes)


def initialisations(row: PretrainedRow) -> dict[str, dict[str, list[float]]]:
    """What was measured before training, by initialisation; means over seeds."""
    runs = [record["training"]["initialisations"] for record in row.records.values()]
    return {name: mean_layers([run[name] for run in runs]) for name in runs[0]}


def mean_layers(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Similarity by layer and routing entropy by block, means over runs."""
    entropies = [[layer["entropy"] for layer in run["routing"]] for run in runs]
    return {
        "similarity": np.mean([run["similarity"] for run in runs], axis=0).tolist(),
        "entropy": np.mean(entropies, axis=0).tolist() if entropies[0] else [],
    }


def curvatures(record: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, K at the start and K at the end of each curvature."""
    training = record["training"]
    end = training["curvatures_at_end"]
    return [(name, start, end[name]) for name, start in training["curvatures_at_start"].items()]


def _expert(name: str) -> str:
    """`block 1, expert 0` of `model.layers.1.mlp.experts.0`."""
    numbers = [part for part in name.split(".") if part.isdigit()]
    return f"block {numbers[0]}, expert {numbers[-1]}" if len(numbers) > 1 else name
