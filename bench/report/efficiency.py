"""The report of an efficiency measurement: times relative to LoRA's, and the paper's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.names import method_label, model_label
from bench.report import formats
from bench.report.figure import save
from bench.report.figures.efficiency import REGIMES, case_title, figure
from bench.report.measurements import measurement_name
from bench.report.published import read_published
from bench.report.tables import Cell, Column, Report, Row, Table, number

NAME = "efficiency"
TITLE = "Cost vs. LoRA"
REFERENCE = "lora"
PUBLISHED_LOOP = "published loop"
LISTED = 20  # predictions that differ; there should be none
Measurement = Mapping[str, Any]


def efficiency_report(measured: Measurement) -> Report:
    """The measurement of `bench.efficiency` as tables: its `cases`, and any of `PARTS`."""
    settings, versions = measured["settings"], measured["versions"]
    facts = {
        "Device": f"{measured['device']}, {measured['threads']} threads",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Rounds": f"{settings['rounds']} per measurement, each in a new random order",
    }
    if skipped := measured.get("skipped"):
        facts["Skipped"] = "; ".join(f"{one['case']}: {one['reason']}" for one in skipped)
    tables = [_case(case) for case in measured["cases"]]
    for part, makers in PARTS.items():
        if found := measured.get(part):
            tables += [table for make in makers if (table := make(found))]
    name = measurement_name(NAME, measured)
    return Report(name, TITLE, facts, (*tables, _published()))


def write_efficiency(measured: Measurement, folder: Path) -> list[Path]:
    """Write tables/<name>.{md,csv,json,tex} and, if there are cases, figures/<name>.{svg,png}."""
    report, drawn = efficiency_report(measured), figure(measured)
    paths = formats.write(report, folder / "tables", {"measurement": dict(measured)})
    return paths + (save(drawn, folder / "figures", report.name) if drawn else [])


def _case(case: Mapping[str, Any]) -> Table:
    works = case["works"]
    columns = [
        _ratio_column(work, f"{work} (LoRA {number(times[REFERENCE]['median'], 'seconds')})")
        for work, times in works.items()
    ]
    if any(found["peak_bytes"] for found in next(iter(works.values())).values()):
        columns.append(Column("peak_gib", "Peak memory, GiB", ".2f"))
    columns.append(Column("trainable", "Trainable", ","))
    rows = []
    for method, trainable in case["parameters"].items():
        found = {work: times[method] for work, times in works.items() if method in times}
        cells = {work: _ratio(times) for work, times in found.items()}
        if peaks := [times["peak_bytes"] for times in found.values() if times["peak_bytes"]]:
            cells["peak_gib"] = Cell(max(peaks) / 2**30)
        cells["trainable"] = Cell(trainable)
        rows.append(Row((method_label(method),), cells, keys={"method": method}))
    notes = [
        "Time relative to LoRA's: median over rounds, quartiles in brackets.",
        "LoRA again: a second copy of LoRA; its deviation from 1 is noise.",
    ]
    if errors := [error for error in case["errors"].values() if error is not None]:
        notes.append(
            "HypLoRA's layers were checked against their literal definition first: they differ by "
            f"at most {max(errors):.0e}."
        )
    title = case_title(case)
    return Table(title, title, tuple(columns), tuple(rows), notes=tuple(notes))


def _rows(found: Mapping[str, Mapping[str, Any]], columns: Sequence[Column]) -> tuple[Row, ...]:
    """A row for each entry, whose values have the names of the columns."""
    return tuple(
        Row((name,), {c.key: _ratio(v) if c.key == "ratio" else Cell(v[c.key]) for c in columns})
        for name, v in found.items()
    )


def _operations(found: Sequence[Mapping[str, Any]]) -> Table:
    """Operations per adapted layer, and launches of kernels if they were counted."""
    passes = ("forward", "backward", "decode")
    rows = []
    for one in found:
        regime = (
            one["dtype"]
            if one["dtype"] == "float32"
            else f"{one['dtype']}, {REGIMES[one['regime']]}"
        )
        for method, counts in one["methods"].items():
            cells = {
                f"{kind}_{name}": Cell(count)
                for kind in ("operations", "launches")
                for name, count in counts[kind].items()
                if count is not None
            }
            label = "layer itself" if method == "none" else method_label(method)
            rows.append(Row((regime, label), cells, keys={"method": method}))
    columns = [Column(f"operations_{name}", name, ",") for name in passes]
    if any("launches_forward" in row.cells for row in rows):
        columns += [Column(f"launches_{name}", f"{name}, kernels", ",") for name in passes]
    notes = (
        "Operations that PyTorch dispatches for one adapted linear layer, without views and with "
        "those of the layer itself: in a training step, and for one decoded token. Kernels: what a "
        "GPU is sent.",
    )
    heading, names = "Operations per adapted layer", ("Base", "Method")
    return Table("operations", heading, tuple(columns), tuple(rows), names, notes)


def _throughput_cases(found: Sequence[Mapping[str, Any]]) -> Table:
    """The fine-tuning loop on bases other than the configured one."""
    tables = [(Cell(one["model"]), _throughput(one)) for one in found]
    columns = (Column("model", "Base", "text"), *tables[0][1].columns)
    rows = [Row(row.names, {"model": base, **row.cells}) for base, t in tables for row in t.rows]
    notes = dict.fromkeys(note for _, table in tables for note in table.notes)
    heading = "Fine-tuning loop vs. transformers Trainer, random weights"
    return Table("throughput_cases", heading, columns, tuple(rows), ("Loop",), tuple(notes))


def _batching(found: Mapping[str, Any]) -> Table | None:
    """Static and continuous batches."""
    if not (found := found.get("batching") or {}):
        return None
    columns = (
        Column("problems_per_second", "Problems/s", ".3g"),
        _ratio_column("ratio", "Ratio"),
    )
    same = f"The text is the same for {found['same_texts']} of {found['prompts']} problems."
    notes = (
        f"{found['prompts']} problems, {found['batch_size']} at once, {found['tokens']:.0f} tokens "
        "per answer. Static: answers that have ended leave the batch when they are half of it; "
        "continuous: the next prompt takes their place.",
        f"No continuous batches: {found['reason']}." if found["reason"] else same,
    )
    rows = _rows(found["loops"], columns)
    return Table("batching", "Ways of batching in evaluation", columns, rows, ("Batches",), notes)


def _throughput(found: Mapping[str, Any]) -> Table:
    columns = (
        Column("tokens_per_second", "Tokens/s", ",.0f"),
        _ratio_column("ratio", "Ratio"),
        Column("utilisation", "Utilisation", ".0%"),
    )
    rows = _rows(found["loops"], columns)
    apart = found["loss_difference"]
    notes = (
        f"LoRA on {found['model']}, {found['rows']} rows of {', '.join(found['data'])} "
        f"({found['tokens']:,} tokens), {found['batch_size']} per step. This loop splits a step "
        f"into micro-batches of {found['micro_batch_size']} rows of similar length; the Trainer "
        "does not split it.",
        "Utilisation: arithmetic of the model (without attention's products) relative to a large "
        f"matrix product on this device, {found['matmul_flops_per_second'] / 1e9:,.0f} GFLOP/s.",
        "The two loss curves "
        + (f"differ by at most {apart:.0e} of the loss." if apart else "are equal."),
    )
    heading = "Fine-tuning loop vs. transformers Trainer"
    return Table("throughput", heading, columns, rows, ("Loop",), notes)


def _evaluation(found: Mapping[str, Any]) -> Table:
    """The speed of evaluation relative to LLM-Adapters' published loop."""
    columns = (
        Column("problems_per_second", "Problems/s", ".3g"),
        _ratio_column("ratio", "Ratio", ".1f"),
        Column("tokens", "Tokens per problem", ".0f"),
        Column("at_limit", "Truncated", ","),
        Column("accuracy", "Accuracy", ".1f"),
    )
    loops = {
        name if name == PUBLISHED_LOOP else f"this project, protocol={name}": loop
        for name, loop in found["loops"].items()
    }
    taught, total = found["taught"], found["problems"]
    model = f"{found['model']} without an adapter"
    if taught:
        model = (
            f"LoRA on {found['model']}, trained on {taught['rows']} rows of "
            f"{', '.join(taught['data'])} with each of the two prompts for {taught['epochs']:g} "
            "epochs"
        )
    sets = ", ".join(f"{key} {count}" for key, count in found["sets"].items())
    notes = (
        f"{model}: {total} of {found['asked']} problems ({sets}), those whose prompt leaves room "
        f"for {found['max_new_tokens']} new tokens.",
        "The published loop answers one problem at a time with four beams and no cache. "
        "protocol=llm_adapters has the same prompt, search and answer extraction; protocol=fast "
        "has a short prompt and decodes greedily.",
        f"All answer up to {found['chunk']} problems of a set in turn, in a random order; this "
        f"project in batches of up to {found['batch_size']}. Ratio: median over these turns, "
        "quartiles in brackets.",
        "Truncated: problems whose answer reached the token limit.",
        "protocol=llm_adapters extracts the same answer as the published loop in "
        f"{found['same_predictions']} of {total} problems, and generates the same text in "
        f"{found['same_texts']}.",
    )
    heading, rows = "Evaluation vs. the published loop", _rows(loops, columns)
    return Table("evaluation", heading, columns, rows, ("Evaluation",), notes)


def _differing(found: Mapping[str, Any]) -> Table | None:
    """Predictions that differ from the published loop's."""
    if not found["differing"]:
        return None
    rows = tuple(
        Row(
            (one["task"], one["instruction"]),
            {key: Cell(json.dumps(one[key])) for key in ("published", "ours")},
        )
        for one in found["differing"][:LISTED]
    )
    left = len(found["differing"]) - len(rows)
    columns = (
        Column("published", "Published loop", "text"),
        Column("ours", "This project, protocol=llm_adapters", "text"),
    )
    notes = (f"{left} more are in the JSON file.",) if left else ()
    names = ("Set", "Problem")
    return Table("differing", "Predictions that differ", columns, rows, names, notes)


def _hyperbolicity(found: Mapping[str, Any]) -> Table:
    """The speed of delta-hyperbolicity relative to the public routine."""
    columns = (
        Column("points", "Points", ","),
        Column("seconds", "Time per space", "seconds"),
        _ratio_column("ratio", "Speed", ".1f"),
        Column("peak_mib", "Memory", ".0f", " MiB"),
    )
    rows: list[Row] = []
    for size in found["sizes"]:
        routines = {
            name: routine | {"points": size["points"], "peak_mib": routine["peak_bytes"] / 2**20}
            for name, routine in size["routines"].items()
        }
        rows += _rows(routines, columns)
    counts = ", ".join(f"{size['spaces']} of {size['points']} points" for size in found["sizes"])
    difference = max(size["difference"] for size in found["sizes"])
    notes = (
        f"{found['prompts']:,} prompts of {found['tokens']} tokens in {found['dimension']} "
        f"dimensions, every base point, distances included: {found['seconds']:.1f} s.",
        "Speed: spaces per second relative to the public routine; median over rounds, quartiles in "
        f"brackets. All get the same float32 distances: {counts}, in one batch if the routine "
        "supports it.",
        "Memory: growth of the process for one space.",
        "This project and the public routine (first base point) differ by at most "
        f"{difference:.0e}.",
    )
    heading = "Delta-hyperbolicity vs. the public routine"
    return Table("hyperbolicity", heading, columns, tuple(rows), ("Routine",), notes)


def _helm(found: Mapping[str, Any]) -> Table:
    """The speed of HELM's models relative to their Euclidean twins."""
    works = list(next(iter(found["pairs"].values()))["works"])
    columns = (
        *(_ratio_column(work, work) for work in works),
        Column("twin", "Twin's times", "text"),
        Column("cached", "Cached per token", ","),
        Column("parameters", "Parameters", ","),
    )
    notes = (
        f"Models of size {found['size']} with {found['vocabulary']:,} tokens in {found['dtype']}. "
        f"A step is forward, backward and AdamW over all weights for {found['batch']} x "
        f"{found['tokens']} tokens; decode is one token after as many.",
        f"Time relative to the twin's: median over {found['rounds']} rounds, each in a new random "
        "order, quartiles in brackets. A twin, again, is a second copy of the twin: its deviation "
        "from 1 is noise.",
        "Cached: numbers per token in the cache, all layers together. DeepSeek-V3 caches latents, "
        "too, which transformers expands for all tokens at each step.",
    )
    rows = tuple(row for own, pair in found["pairs"].items() for row in _helm_rows(own, pair))
    heading = "HELM vs. its Euclidean twins"
    return Table("helm", heading, columns, rows, ("Model",), notes)


def _helm_rows(own: str, pair: Mapping[str, Any]) -> Iterator[Row]:
    twin, works = pair["twin"], pair["works"]
    for name in (twin, "again", own):
        kind = twin if name == "again" else name
        cells = {work: _ratio(times[name]) for work, times in works.items()}
        if name == twin:
            times = (f"{work} {number(t[twin]['seconds'], 'seconds')}" for work, t in works.items())
            cells["twin"] = Cell(", ".join(times))
        cells["cached"] = Cell(pair["cached"][kind])
        cells["parameters"] = Cell(pair["parameters"][kind])
        label = model_label(kind) + ", again" * (name == "again")
        yield Row((label,), cells, keys={"model": kind})


def _published() -> Table:
    published = read_published(NAME)
    found = published["inference"]["rows"]
    references = {row["base"]: row for row in found if row["method"] == REFERENCE}
    sets = [key for key in found[0] if key not in ("base", "method")]
    rows = tuple(
        Row(
            (method_label(row["method"]), row["base"]),
            {key: Cell(row[key] / references[row["base"]][key]) for key in sets},
            keys={"method": row["method"]},
        )
        for row in found
    )
    memory = "; ".join(
        f"{method_label(row['method'])} {row['gigabytes']:.2f} GB on {row['base']}"
        for row in published["memory"]["rows"]
    )
    notes = (
        f"Inference time relative to LoRA's. {published['inference']['source']}.",
        f"Memory while fine-tuning: {memory}. {published['memory']['source']}.",
        *published["notes"],
    )
    columns = tuple(Column(key, key, ".2f") for key in sets)
    return Table("published", "The paper's", columns, rows, ("Method", "Base"), notes)


def _ratio_column(key: str, label: str, form: str = ".2f") -> Column:
    return Column(key, label, form, show="range")


def _ratio(timing: Mapping[str, float]) -> Cell:
    return Cell(timing["ratio"], low=timing["ratio_low"], high=timing["ratio_high"])


PARTS: dict[str, tuple[Callable[[Any], Table | None], ...]] = {
    "operations": (_operations,),
    "throughput": (_throughput,),
    "throughput_cases": (_throughput_cases,),
    "evaluation": (_evaluation, _differing, _batching),
    "hyperbolicity": (_hyperbolicity,),
    "helm": (_helm,),
}
