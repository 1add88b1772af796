"""The grids of a report on pretraining, and what they show in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.layout import EMPTY, Section
from bench.report.pretraining.beside import TwinDifference
from bench.report.pretraining.rows import PretrainedRow
from bench.report.statistics.differences import BETTER, WORSE
from bench.report.statistics.wording import between, probability

EVEN = 0.98  # of a router's entropy: from here on the words call its load even
ALIKE = 0.8  # of the tokens' similarity: from here on the words call them alike


def findings(rows: Sequence[PretrainedRow], differences: Sequence[TwinDifference]) -> Iterator[str]:
    """What the report shows, whichever way it points."""
    for found in differences:
        yield _verdict(found)
        yield (
            f"{found.row.label} trains at {found.speed:.2f} times the tokens a second of "
            f"{found.twin.label}, on this device and with this code."
        )
    for row in rows:
        if moved := _movement(row):
            yield moved
        yield from _initialisation(row)


def _verdict(found: TwinDifference) -> str:
    names = f"{found.row.label} beside {found.twin.label}"
    if found.difference is None:
        return f"{names}: {found.verdict}, {found.why}."
    share = found.difference / found.twin.mean
    more = "more" if found.difference > 0 else "fewer"
    amount = f"{abs(found.difference):.4f} bits per byte {more} ({abs(share):.1%})"
    if found.verdict in (BETTER, WORSE):
        return (
            f"{names}: {found.verdict}. It needs {amount}; 95% interval "
            f"{between(found.low, found.high, '+z.4f')}, p (Holm) {probability(found.p_holm)}. "
            "What this is of, and what may have made it beside the geometry, stands below."
        )
    if found.low is None or found.high is None:
        return f"{names}: {found.verdict}: {found.why}. The runs there are need {amount}."
    return (
        f"{names}: {found.verdict}. It needs {amount}, and what lies within "
        f"{(found.high - found.low) / 2:.4f} of 0 these seeds and this text can't tell from chance."
    )


def _movement(row: PretrainedRow) -> str:
    """How far the learned curvatures of a model's experts went."""
    moved = [
        abs(end / start - 1)
        for record in row.records.values()
        for name, start, end in _curvatures(record)
        if name != "stream"
    ]
    if not moved:
        return ""
    return (
        f"{row.label}: the experts' K moved by {np.mean(moved):.1%} of where they began on "
        f"average, by {max(moved):.1%} at most."
    )


def _initialisation(row: PretrainedRow) -> Iterator[str]:
    """What the initialisation does to the tokens, where a model has a choice of it."""
    found = _initialisations(row)
    for name, layers in found.items() if len(found) > 1 else ():
        similarity = layers["similarity"]
        last = max(similarity[1:])
        text = f"{row.label}, {name} initialisation: the tokens' mean cosine is "
        text += f"{similarity[0]:.2f} behind the embedding and up to {last:.2f} above it"
        text += ", so that all tokens look alike" if last >= ALIKE else ""
        if layers["entropy"]:
            lowest = min(layers["entropy"])
            text += f"; the load of its experts has an entropy of {lowest:.2f} at the lowest "
            text += "(1 is even)" if lowest < EVEN else "(even)"
        yield text + "."


def main_section(rows: Sequence[PretrainedRow]) -> Section:
    """Sizes, tokens, speed and bits per byte."""
    lines = []
    for row in rows:
        training = row.first["training"]
        parameters = training["parameters"]
        low, high = row.interval or (None, None)
        lines.append(
            (
                row.label,
                f"{parameters['total']:,}",
                f"{parameters['without_vocabulary']:,}",
                f"{training['tokens']:,}",
                f"{row.mean_of('tokens_per_second'):,.0f}",
                f"{row.mean_of('utilisation'):.0%}",
                f"{row.mean:.4f}",
                between(low, high, ".4f"),
            )
        )
    first = rows[0].first["training"]
    header = (
        "Model",
        "Parameters",
        "without vocabulary",
        "Tokens",
        "Tokens/s",
        "MFU",
        "Bits per byte",
        "95% interval",
    )
    notes = (
        f"Bits per byte of {first['held_out_documents']:,} held-out documents "
        f"({first['held_out_bytes']:,} bytes): the bits of a document's text by the model, its end "
        "not counted, over its bytes in UTF-8. Lower is better. A mean over the seeds; its "
        "interval is Student's t over them, on this text.",
        "Tokens a second of the training steps alone, means over the seeds: what ran beside a run "
        "slows it.",
        "MFU: the model's own arithmetic over that of a large matrix product here, "
        f"{rows[0].mean_of('matmul_flops_per_second') / 1e9:,.0f} GFLOP/s. For a token "
        f"{first['flops_formula']}.",
    )
    return Section("Bits per byte of held-out text", header, tuple(lines), notes)


def twin_section(differences: Sequence[TwinDifference]) -> Section:
    """The paired differences to the twins."""
    header = ("Model", "Twin", "Verdict", "Difference", "95% interval", "p (Holm)", "By seed")
    lines = tuple(
        (
            found.row.label,
            found.twin.label,
            found.verdict,
            EMPTY if found.difference is None else f"{found.difference:+.4f}",
            between(found.low, found.high, "+z.4f"),
            probability(found.p_holm),
            ", ".join(f"{value:+.4f}" for value in (found.by_seed or {}).values()) or EMPTY,
        )
        for found in differences
    )
    seeds = max((len(found.by_seed or {}) for found in differences), default=0)
    notes = [
        "Bits per byte of the model less its twin's, at equal seeds: both saw the same tokens in "
        "the same order (a hash of all of them is compared). Below 0 the model is better.",
        "The test counts variation between seeds and between parts of the held-out text. Verdicts "
        f"go by p (Holm) at 5%. {seeds} seeds are few: they give the variation between runs no "
        "more than 2 to 4 degrees of freedom, so that the intervals are wide where runs differ.",
        "A verdict is of this size, this text, this many tokens and these learning rates. Each "
        "model starts as its own code starts it, HELM's embedding with a standard deviation of 1 "
        "and its twins' of transformers with 0.02; norms, residuals and gains differ, too. Where "
        "training is as short as here, such things may decide, and nothing is said of curvature "
        "alone.",
    ]
    notes += [f"{f.row.label}: {f.why}." for f in differences if f.why]
    return Section("Beside the Euclidean twin", header, lines, tuple(notes), names=3)


def routing_section(rows: Sequence[PretrainedRow]) -> Section | None:
    """The load of each expert at the end, by block; None where no model has experts."""
    lines = []
    for row in rows:
        runs = [record["training"]["layers"]["routing"] for record in row.records.values()]
        for place, layer in enumerate(runs[0]):
            loads = np.array([run[place]["load"] for run in runs])
            entropy = np.array([run[place]["entropy"] for run in runs])
            lines.append(
                (
                    row.label,
                    str(layer["block"]),
                    " ".join(f"{share:.0%}" for share in loads.mean(axis=0)),
                    f"{loads.min():.0%} to {loads.max():.0%}",
                    f"{entropy.mean():.3f}",
                )
            )
    if not lines:
        return None
    header = ("Model", "Block", "Load by expert", "Range over seeds", "Entropy")
    notes = (
        "Shares of the tokens that each routed expert gets after training, on "
        f"{rows[0].first['training']['layers']['tokens']:,} held-out tokens, mean over seeds. "
        "Entropy of the load over that of an even one.",
        "Both models move their router's biases against the load by HELM's rule after each step; "
        "HELM-MiCE has its small balance loss, too. DeepSeek-V3 scores by a sigmoid and makes the "
        "weights of the chosen add up to 1, HELM-MiCE by a softmax over all as its code does.",
    )
    return Section("Where the tokens go", header, tuple(lines), notes, names=2)


def curvature_section(rows: Sequence[PretrainedRow]) -> Section | None:
    """Curvature parameters before and after; None where no model has any that is learned."""
    lines = []
    for row in rows:
        runs = [_curvatures(record) for record in row.records.values()]
        for place, (name, start, _) in enumerate(runs[0]):
            ends = [run[place][2] for run in runs]
            if name == "stream":
                continue
            lines.append(
                (row.label, _expert(name), f"{start:.3f}", f"{np.mean(ends):.3f}", _range(ends))
            )
    if not lines:
        return None
    header = ("Model", "Expert", "K at start", "K at end", "Range over seeds")
    notes = ("The sectional curvature is -1/K. The stream's K is 1 and not learned.",)
    return Section("Learned curvatures", header, tuple(lines), notes, names=2)


def initialisation_section(rows: Sequence[PretrainedRow]) -> Section | None:
    """How alike tokens are before and after training, layer by layer."""
    lines = []
    for row in rows:
        after = _mean_layers([r["training"]["layers"] for r in row.records.values()])
        states = {f"{n} at start": v for n, v in _initialisations(row).items()}
        for name, layers in (states | {"after training": after}).items():
            told = name.replace("own at", "at")
            cosines = " ".join(f"{value:.2f}" for value in layers["similarity"])
            entropies = " ".join(f"{value:.2f}" for value in layers["entropy"])
            lines.append((row.label, told, cosines, entropies or EMPTY))
    header = ("Model", "Weights", "Mean cosine by layer", "Routing entropy by block")
    notes = (
        "Mean cosine of two different tokens' states over all pairs: in front of each block and, "
        "last, as the head reads them. Of HELM the space coordinates. Routing entropy: as above, "
        "of the blocks with experts. Means over seeds.",
        "public: as the public code draws its weights. balanced: the same with zeros on the time "
        "coordinates, the default here and what was trained unless a row says otherwise.",
    )
    return Section("How alike tokens are", header, tuple(lines), notes, names=2)


def published_section(published: Mapping[str, Any]) -> Section:
    """The paper's accuracies, with what has to be known of them."""
    tasks = published["chance"]
    lines = []
    for row in published["rows"]:
        own = [row[task] for task in tasks]
        printed = row.get("average")
        lines.append(
            (
                row["model"],
                row["size"],
                *(f"{value:.1f}" for value in own),
                EMPTY if printed is None else f"{printed:.1f}",
                f"{np.mean(own):.2f}",
            )
        )
    chance = [float(value) for value in tasks.values()]
    cells = (*(f"{value:.1f}" for value in chance), EMPTY, f"{np.mean(chance):.2f}")
    lines.append(("Chance", "", *cells))
    header = ("Model", "Size", *published["labels"].values(), "Printed average", "Their mean")
    notes = (f"Accuracy in percent. {published['source']}.", *published["notes"])
    return Section("The paper's", header, tuple(lines), tuple(notes), names=2)


def _initialisations(row: PretrainedRow) -> dict[str, dict[str, list[float]]]:
    """What was measured before training, by initialisation; means over the seeds."""
    runs = [record["training"]["initialisations"] for record in row.records.values()]
    return {name: _mean_layers([run[name] for run in runs]) for name in runs[0]}


def _mean_layers(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    entropies = [[layer["entropy"] for layer in run["routing"]] for run in runs]
    return {
        "similarity": np.mean([run["similarity"] for run in runs], axis=0).tolist(),
        "entropy": np.mean(entropies, axis=0).tolist() if entropies[0] else [],
    }


def _curvatures(record: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, K at the start and K at the end of each curvature."""
    training = record["training"]
    end = training["curvatures_at_end"]
    return [(name, start, end[name]) for name, start in training["curvatures_at_start"].items()]


def _expert(name: str) -> str:
    """`block 1, expert 0` of `model.layers.1.mlp.experts.0`."""
    numbers = [part for part in name.split(".") if part.isdigit()]
    return f"block {numbers[0]}, expert {numbers[-1]}" if len(numbers) > 1 else name


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"
