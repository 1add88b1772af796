"""The tables of a report on pretraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from scipy.special import stdtrit

from bench.report.comparison import Comparison
from bench.report.selection import Group
from bench.report.tables import Cell, Column, Row, RunValue, Table

Rows = Sequence[Group]
WEIGHTS = {"own": "at start", "trained": "after training"}  # states with another label
SHARES = ("acc", "exact_match", "f1")  # prefixes of metrics that are shares


def main_table(rows: Rows) -> Table:
    """Sizes, tokens, speed and bits per byte."""
    columns = (
        Column("parameters", "Parameters", ","),
        Column("without_vocabulary", "without vocabulary", ","),
        Column("tokens", "Tokens", ","),
        Column("tokens_per_second", "Tokens/s", ",.0f"),
        Column("utilisation", "MFU", ".0%"),
        Column("bits_per_byte", "Bits per byte [95% interval]", ".4f", show="range"),
    )
    lines = []
    for row in rows:
        training = row.first["training"]
        cells = {
            "parameters": Cell(training["parameters"]["total"]),
            "without_vocabulary": Cell(training["parameters"]["without_vocabulary"]),
            "tokens": Cell(training["tokens"]),
            "bits_per_byte": bits_per_byte(row),
        }
        for key in ("tokens_per_second", "utilisation"):
            cells[key] = over_seeds({run["seed"]: run[key] for run in row.records})
        lines.append(Row((row.label,), cells, keys={"model": row.first["model"]}))
    record = rows[0].first
    first, split = record["training"], record["split"]
    part = record["text"][split]
    notes = (
        f"Bits per byte of {part['documents']:,} {split} documents ({part['bytes']:,} bytes): bits "
        "of all their text (without end tokens) divided by its bytes in UTF-8. Lower is better. "
        "Mean over seeds with Student's interval over seeds, on this text.",
        "Tokens/s: training steps only, mean over seeds; other processes on the machine lower it.",
        "MFU: arithmetic of the model relative to a large matrix product on this device, "
        f"{mean_of(rows[0], 'matmul_flops_per_second') / 1e9:,.0f} GFLOP/s. Per token: "
        f"{first['flops_formula']}.",
    )
    title = f"Bits per byte of {split} documents"
    return Table("main", title, columns, tuple(lines), ("Model",), notes)


def bits_per_byte(row: Group) -> Cell:
    """Bits per byte of the evaluated documents: mean over seeds with Student's 95% interval."""
    return over_seeds({run["seed"]: run["training"]["bits_per_byte"] for run in row.records})


def mean_of(row: Group, key: str) -> float:
    """The mean over the seeds of a number of the record."""
    return fmean(record[key] for record in row.records)


def over_seeds(values: Mapping[int, float], n: int | None = None) -> Cell:
    """The mean of a value over seeds, over `n` items each, with Student's 95% interval."""
    numbers = list(values.values())
    runs = tuple(RunValue(seed, value, n) for seed, value in values.items())
    mean, count = float(np.mean(numbers)), len(numbers)
    if count < 2:
        return Cell(mean, n=n, runs=runs)
    sd = float(np.std(numbers, ddof=1))
    reach = float(stdtrit(count - 1, 0.975) * sd / np.sqrt(count))
    return Cell(mean, sd, mean - reach, mean + reach, n=n, runs=runs)


def twin_table(found: Sequence[Comparison]) -> Table:
    """The differences to the twins, paired by seed."""
    seeds = sorted({seed for each in found for seed in each.seeds})
    columns = (
        Column("difference", "Verdict", "text", show="verdict"),
        Column("difference", "Difference [95% interval]", "+z.4f", show="range"),
        Column("difference", "p (Holm)", show="p"),
        *(Column(f"seed_{seed}", f"seed {seed}", "+.4f") for seed in seeds),
    )
    rows = []
    for each in found:
        interval: dict[str, Any] = {"low": each.low, "high": each.high}
        cell = Cell(each.difference, n=each.n, p=each.p_holm, verdict=each.verdict, **interval)
        by_seed = {f"seed_{seed}": Cell(value) for seed, value in each.by_seed.items()}
        rows.append(Row((each.label, each.reference_label), {"difference": cell} | by_seed))
    tested = (
        "The test accounts for variation between seeds and between documents, of total bits over "
        f"total bytes; verdicts follow p (Holm) at 5%. With {len(seeds)} seeds the variation "
        f"between runs has {len(seeds) - 1} to {2 * (len(seeds) - 1)} degrees of freedom, so the "
        "intervals are wide if runs differ."
    )
    notes = [
        "Bits per byte of the model minus its twin's at equal seeds. Both must have seen the same "
        "tokens in the same order (checked by a hash). Negative: the model is better.",
        *([tested] if any(each.p is not None for each in found) else []),
        "The comparison holds for this size, text, number of tokens and these settings. A plain "
        "twin is initialised as in its own code (embeddings with a standard deviation of 0.02, of "
        "1 in HELM); a matched twin has HELM's distributions of weights, its biases and its norms' "
        "epsilon. Residuals, the projection before the head and gains differ from both, so that "
        "neither difference is evidence for curvature alone.",
        *(f"{each.name}: {each.why}." for each in found if each.why),
    ]
    heading, names = "vs. the Euclidean twin", ("Model", "Twin")
    return Table("twins", heading, columns, tuple(rows), names, tuple(notes))


def routing_table(rows: Rows) -> Table | None:
    """The load of each expert after training, by block; None if no model has experts."""
    lines: list[Row] = []
    for row in rows:
        runs = [record["training"]["layers"]["routing"] for record in row.records]
        for layers in zip(*runs, strict=True):
            loads = zip(*(layer["load"] for layer in layers), strict=True)
            cells = {f"expert_{i}": _extent(load) for i, load in enumerate(loads)}
            cells["entropy"] = Cell(fmean(layer["entropy"] for layer in layers))
            lines.append(Row((row.label, str(layers[0]["block"])), cells))
    if not lines:
        return None
    most = max(len(row.cells) for row in lines) - 1
    columns = (
        *(Column(f"expert_{i}", f"Expert {i}", ".0%", show="range") for i in range(most)),
        Column("entropy", "Entropy", ".3f"),
    )
    tokens = rows[0].first["training"]["layers"]["tokens"]
    notes = (
        f"Share of the tokens routed to each expert after training, on {tokens:,} validation "
        "tokens: mean over seeds, smallest and largest in brackets. "
        "Entropy of the load relative to an even one.",
        "The models update their router's biases by HELM's rule after each step; HELM-MiCE also "
        "has a small balance loss. DeepSeek-V3 scores by a sigmoid and normalises the weights of "
        "the selected experts; HELM-MiCE uses a softmax over all, as its code does.",
    )
    return Table("routing", "Expert load", columns, tuple(lines), ("Model", "Block"), notes)


def curvature_table(rows: Rows) -> Table | None:
    """Curvature parameters before and after training; None if none is learned."""
    lines = []
    for row in rows:
        for name, (start, ends) in experts(row).items():
            numbers = [part for part in name.split(".") if part.isdigit()]
            label = f"block {numbers[0]}, expert {numbers[-1]}" if len(numbers) > 1 else name
            lines.append(Row((row.label, label), {"start": Cell(start), "end": _extent(ends)}))
    if not lines:
        return None
    columns = (
        Column("start", "K at start", ".3f"),
        Column("end", "K at end [range over seeds]", ".3f", show="range"),
    )
    notes = ("The sectional curvature is -1/K. The stream's K is 1 and not learned.",)
    names = ("Model", "Expert")
    return Table("curvatures", "Learned curvatures", columns, tuple(lines), names, notes)


def experts(row: Group) -> dict[str, tuple[float, list[float]]]:
    """K of each expert at the start, and at the end by seed."""
    runs = [record["training"] for record in row.records]
    return {
        name: (start, [run["curvatures_at_end"][name] for run in runs])
        for name, start in runs[0]["curvatures_at_start"].items()
        if name != "stream"
    }


def _extent(values: Sequence[float]) -> Cell:
    return Cell(fmean(values), low=min(values), high=max(values))


def initialisation_table(rows: Rows) -> Table:
    """Similarity of tokens before and after training, layer by layer."""
    lines, keys = [], {"layer": 0, "entropy": 0}
    for row in rows:
        for name, layers in states(row).items():
            cells: dict[str, Cell] = {}
            for key, values in zip(keys, layers, strict=True):
                cells |= {f"{key}_{i}": Cell(value) for i, value in enumerate(values)}
                keys[key] = max(keys[key], len(values))
            lines.append(Row((row.label, WEIGHTS.get(name, f"{name} at start")), cells))
    columns = (
        *(Column(f"layer_{i}", f"cosine {i}", ".2f") for i in range(keys["layer"])),
        *(Column(f"entropy_{i}", f"entropy {i + 1}", ".2f") for i in range(keys["entropy"])),
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


def states(row: Group) -> dict[str, tuple[list[float], list[float]]]:
    """Similarity by layer and routing entropy by block, means over seeds.

    By state of the weights: each initialisation, then `trained`.
    """
    trainings = [record["training"] for record in row.records]
    runs = [training["initialisations"] | {"trained": training["layers"]} for training in trainings]
    return {name: _mean_layers([run[name] for run in runs]) for name in runs[0]}


def _mean_layers(runs: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    entropies = [[layer["entropy"] for layer in run["routing"]] for run in runs]
    similarity = np.mean([run["similarity"] for run in runs], axis=0)
    return similarity.tolist(), np.mean(entropies, axis=0).tolist()


def tasks_table(rows: Rows, chance: Mapping[str, float]) -> Table | None:
    """The models on lm-eval's tasks, with the accuracy of guessing; None without any."""
    # By task and metric, then by row, each seed's value.
    found: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    tasks: dict[str, Any] = {}
    for row in rows:
        for record in row.records:
            for asked in record.get("lm_eval", {}).values():
                for task, result in asked["tasks"].items():
                    tasks.setdefault(task, []).append(result)
                    for metric, measured in result["metrics"].items():
                        by_row = found.setdefault((task, metric), {})
                        scale = 100.0 if metric.startswith(SHARES) else 1.0
                        by_row.setdefault(row.label, {})[record["seed"]] = scale * measured["value"]
    if not found:
        return None
    lines = []
    for (task, metric), by_row in found.items():
        for label, values in by_row.items():
            cells = {"value": over_seeds(values, tasks[task][0]["n"])}
            lines.append(Row((task, metric, label), cells))
        if metric.startswith(SHARES) and task in chance:
            lines.append(Row((task, metric, "chance"), {"value": Cell(chance[task])}))
    shots = {result["fewshot"] for results in tasks.values() for result in results}
    columns = (Column("value", "Value [95% interval]", ".4g", show="range"),)
    notes = (
        "lm-eval's tasks with their own prompts, of the finished models; few-shot examples: "
        f"{', '.join(sorted(map(str, shots)))}. Shares in percent, other metrics as they are.",
        "Means over seeds with Student's interval over seeds, on these items.",
    )
    heading, names = "Tasks of lm-eval", ("Task", "Metric", "Model")
    return Table("tasks", heading, columns, tuple(lines), names, notes, grouped=True)


def published_table(published: Mapping[str, Any]) -> Table:
    """The paper's accuracies."""
    tasks = published["chance"]
    columns = (
        *(Column(task, published["labels"][task]) for task in tasks),
        Column("average", "Printed average"),
        Column("mean", "Mean of the entries", ".2f"),
    )
    rows = []
    for row in [*published["rows"], {"model": "Chance", "size": "", **tasks}]:
        cells = {task: Cell(row[task]) for task in tasks} | {"average": Cell(row.get("average"))}
        cells["mean"] = Cell(fmean(row[task] for task in tasks))
        rows.append(Row((row["model"], row["size"]), cells))
    notes = (f"Accuracy in percent. {published['source']}.", *published["notes"])
    return Table("published", "The paper's", columns, tuple(rows), ("Model", "Size"), notes)
