"""The notes below a table of scores: what its numbers mean, and their limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from bench.report.comparison import NLL
from bench.report.outcomes import has_nll
from bench.report.records import Record
from bench.report.scores import ScoreRow, ScoreTable
from bench.tracking.record import gates_by_module

MARK = "†"  # on a benchmark whose rows were trained on
MEASURED = "auto"
NEAR = (
    "at least half of a test row's runs of 13 words, so masked, are in one training row (a shorter "
    "text is one run)"
)
# Files of the published tables whose contents are not available, so that they can't be compared.
PUBLISHED = (
    "ft-training_set/math_10k.json",
    "ft-training_set/commonsense_170k.json",
    "dataset/hellaswag/test.json",
)


def score_notes(table: ScoreTable) -> list[str]:
    """All notes below the scores."""
    selection = table.selection
    return [
        *selection.sweep.remarks,
        *selection.spec.remarks,
        *_limits(table),
        *_means(table),
        *_likelihoods(table),
        *_clusters(table),
        *_curvatures(table.rows),
        *_guesses(table),
        *_data_files(selection.records),
        *_overlap(table),
        *_forgetting(table.rows),
        f"Code: {commits(selection.records)}.",
    ]


def _limits(table: ScoreTable) -> Iterator[str]:
    """What is missing: runs, and comparisons."""
    selection = table.selection
    if selection.incomplete:
        yield selection.incomplete
    asked = {row.method for row in selection.sweep.rows}
    absent = [
        f"{pair['row']} vs. {pair['reference']}"
        for pair in selection.spec.comparisons
        if not {pair["row"], pair["reference"]} <= asked
    ]
    if absent:
        yield f"Declared comparisons without rows in this sweep: {', '.join(absent)}."
    trained = [row for row in table.rows if row.method != "none"]
    if len(trained) > 1 and not (table.comparisons or selection.spec.comparisons):
        yield (
            "No comparisons: there is neither LoRA with the same options (method=lora) nor the "
            "same method with K=1 to compare a row with."
        )


def _means(table: ScoreTable) -> Iterator[str]:
    """What the numbers mean, and how many problems were too long."""
    singles = [
        row.label + " (nothing is trained)" * (row.method == "none")
        for row in table.rows
        if len(row.records) == 1
    ]
    several = len(singles) < len(table.rows)
    if several:
        single = f" No ± means a single run: {', '.join(singles)}." if singles else ""
        yield f"Accuracy in percent: mean ± sample standard deviation over seeds.{single}"
    else:
        yield "Accuracy in percent; every row is a single run, without a deviation."
    outside = ", ".join(found.label for found in table.benchmarks if not found.averaged)
    if table.averages:
        per_seed = "; both are computed per seed, then averaged over seeds" if several else ""
        yield f"Micro: share of all items; macro: plain mean of the sets{per_seed}." + (
            f" Not in the averages: {outside}." if outside else ""
        )
    elif outside:
        yield f"Rows are judged by {table.labels[table.main]}, not by {outside}."
    for found in table.benchmarks:
        counts = {
            row.label: sum(run["scores"][found.key]["too_long"] for run in row.records)
            for row in table.rows
        }
        if any(counts.values()):
            listed = ", ".join(f"{label} {count}" for label, count in counts.items() if count)
            yield f"{found.label}, problems over the length limit, all seeds: {listed}."


def _likelihoods(table: ScoreTable) -> Iterator[str]:
    """What the NLL is, and what it leaves out."""
    runs = table.selection.records
    have = sum(map(has_nll, runs))
    if NLL in table.measures:
        cells = {found.key: table.rows[0].cells[NLL.cell(found.key)] for found in table.benchmarks}
        lacking = [
            f"{found.label} {lost}"
            for found in table.benchmarks
            if (lost := found.items - (cells[found.key].n or 0))
        ]
        without = f" Left out: reference output missing, wrong or too long: {', '.join(lacking)}."
        yield (
            "NLL: negative log-likelihood of the reference answer, in nats per token (lower is "
            f"better): mean over items ± standard deviation over seeds.{without * bool(lacking)}"
        )
    elif have:
        why = "a set has no items with one in the predictions of all runs"
        if have < len(runs):
            why = f"{len(runs) - have} of {len(runs)} runs have none"
        yield f"The NLL of the reference answers is not shown: {why}."


def _clusters(table: ScoreTable) -> Iterator[str]:
    """Sets whose items are not independent."""
    for found in table.benchmarks:
        if found.clusters:
            yield (
                f"{found.label}: the {found.items} items share texts. Intervals and tests take "
                f"their {found.clusters} clusters as independent."
            )


def _curvatures(rows: Sequence[ScoreRow]) -> Iterator[str]:
    """What `auto` is, and K by module type if layers differ in it."""
    if any(row.curvature == MEASURED for row in rows):
        yield (
            "K=auto: each layer's own K, (delta_rel / 0.144)² of its inputs on validation prompts, "
            "with delta_rel their relative delta-hyperbolicity. Training does not change it unless "
            "a note below says so."
        )
    for row in rows:
        start, end = (_by_module(row.records, when) for when in ("start", "end"))
        learned = any(abs(end[module] - K) > 1e-6 for module, K in start.items())
        if start and (learned or row.curvature == MEASURED):
            values = ", ".join(
                f"{module} {K:.2f}" + (f" → {end[module]:.2f}" if learned else "")
                for module, K in start.items()
            )
            how = "before → after training" if learned else "as measured"
            yield f"K of {row.label}, mean over layers and seeds, {how}: {values}."


def _by_module(runs: Sequence[Record], when: str) -> dict[str, float]:
    """Mean K by module type; empty for a method without gates or curvature."""
    summaries = [gates_by_module(run["training"].get("gates", {}).get(when, [])) for run in runs]
    return {
        module: fmean(summary[module]["curvature"] for summary in summaries)
        for module, first in summaries[0].items()
        if "curvature" in first
    }


def _guesses(table: ScoreTable) -> Iterator[str]:
    keys = {row.key for row in table.guesses}
    if "chance" in keys:
        yield "Chance: guessing among a problem's choices; empty for a set without choices."
    if "majority" in keys:
        answers = ", ".join(f"{found.label} {found.majority_answer}" for found in table.benchmarks)
        yield f"Majority class: always the most frequent gold answer of the set ({answers})."


def _data_files(records: Sequence[Record]) -> Iterator[str]:
    """Files that are not the paper's, or may not be."""
    states = dict.fromkeys(pair for run in records for pair in run["data_files"].items())
    others = [name for name, state in states if state == "another file"]
    unknown = [n for n, state in states if state == "not known" and n.casefold() in PUBLISHED]
    if others:
        yield (
            f"Data: not the paper's file, by its hash: {', '.join(others)}. Scores on such a set "
            "can't be compared with the published ones."
        )
    if unknown:
        yield f"Data: it is not known whether these are the paper's files: {', '.join(unknown)}."


def _overlap(table: ScoreTable) -> Iterator[str]:
    """The overlap of training and test rows, which is the same for all trained runs."""
    runs = table.selection.records
    overlap = next((run["overlap"] for run in runs if run["overlap"]), None)
    if overlap is None or runs[0]["split"] != "test":
        return
    shares, near = [], []
    for key, counts in overlap["tests"].items():
        label = table.labels.get(key, key)
        if counts["masked"]:
            verbatim = f"({counts['exact']} verbatim)"
            shares.append(f"{label} {counts['masked']} of {counts['rows']} {verbatim}")
        if counts["near"] > counts["masked"]:
            near.append(f"{label} {counts['near']} of {counts['rows']}")
    if shares:
        kept = f"kept: columns marked {MARK} also measure memorisation"
        yield (
            "Overlap: test rows among the training rows, with case, punctuation and numbers "
            f"masked: {', '.join(shares)}. The {overlap['train']['masked']} training rows "
            f"concerned were {kept if overlap['kept'] else 'left out'}."
        )
    else:
        yield (
            "Overlap: no test row is among the training rows, also with case, punctuation and "
            "numbers masked."
        )
    if near:
        yield (
            f"Near-duplicates, including those above: {', '.join(near)}. For these, {NEAR}. Such "
            "training rows are kept."
        )


def _forgetting(rows: Sequence[ScoreRow]) -> Iterator[str]:
    """What fine-tuning changed on general text, for each text."""
    losses: dict[str, list[str]] = {}
    for row in rows:
        found = [run["forgetting"] for run in row.records if "forgetting" in run]
        for text in dict.fromkeys(one["sha256"] for one in found):
            before, after = (
                fmean(one[when]["nats_per_token"] for one in found if one["sha256"] == text)
                for when in ("before", "after")
            )
            losses.setdefault(text, []).append(f"{row.label} {before:.3f} → {after:.3f}")
    for listed in losses.values():
        yield (
            "Cross-entropy of general text (nats per token, mean over seeds), before → after: "
            f"{'; '.join(listed)}."
        )


def commits(records: Sequence[Record]) -> str:
    """The commits of the code, with the number of runs if there are several."""
    found = Counter((run["git"]["commit"] or "unknown")[:10] for run in records)
    text = f"commit {next(iter(found))}"
    if len(found) > 1:
        listed = (f"{commit} ({runs} of {len(records)} runs)" for commit, runs in found.items())
        text = f"commits {', '.join(listed)}, which may differ between rows"
    if dirty := sum(bool(run["git"]["dirty"]) for run in records):
        text += f"; {dirty} of {len(records)} runs with uncommitted changes"
    return text
