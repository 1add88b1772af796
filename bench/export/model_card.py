"""The model card of an adapter: README.md with the front matter that the hub reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.errors import printable
from bench.export.intervals import run_intervals
from bench.names import method_label
from bench.report.formats.escape import in_markdown, markdown_line
from bench.report.records import Record, training_settings
from bench.report.shared_record import Base, base_of

PROJECT = "hyplora-bench"
PAPER = "arXiv 2410.04010"


def model_card(record: Record, ours: bool, created_at: str | None) -> str:
    """The card of the adapter that a run trained.

    Args:
        record: of the run.
        ours: whether peft knows the method only once `bench.methods` is imported.
        created_at: when the run began, in ISO 8601; None where that is not known.
    """
    base = base_of(record)
    label = method_label(record["method"], record["curvature"])
    title = f"{label} on {record['model']}"
    parts = [
        f"---\n{_front_matter(record, base, title)}\n---",
        f"# {in_markdown(title)}",
        in_markdown(
            f"An adapter for a causal language model, trained and evaluated by {PROJECT}, which "
            f"reproduces and checks Hyperbolic Fine-Tuning for Large Language Models ({PAPER}). It "
            f"is one run, of seed {record['seed']}, and a benchmark's product: nothing was done to "
            "make it safe, fair or fit for any use."
        ),
        "## What it is",
        _items(_facts(record, base, created_at)),
        "## How to load it",
        *_loading(base, ours),
        "It was asked in this form, and answers well in no other:",
        _fenced(record["config"]["protocol"]["evaluation_prompt"], "text"),
        in_markdown(_generation(record)),
        "## What it scored",
        _scores(record),
        _items(_score_notes(record)),
        "## Licences",
        _items(_licences(record, base)),
        "## Files",
        _items(
            (
                "adapter_model.safetensors, adapter_config.json: the adapter, in peft's form.",
                "record.json: all settings, scores, hashes and versions of the run, without the "
                "paths of the machine it ran on.",
                "method_comparison.json: the same in the form of peft's method_comparison; null "
                "stands for what was not measured.",
                "export.json: the sha256 of each of these.",
            )
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(record: Record, base: Base, title: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    data = record["config"]["data"]
    made = data["source"] == "synthetic"
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=f"synthetic-{key}" if made else key,
            dataset_name=f"synthetic problems in the shape of {score['label']}"
            if made
            else score["label"],
            metric_type="accuracy",
            metric_value=round(score["accuracy"], 2),
            metric_name=f"accuracy, protocol {record['protocol']}, {score['n']} items",
        )
        for key, score in record["scores"].items()
    ]
    card = ModelCardData(
        base_model=base.name,
        library_name="peft",
        pipeline_tag="text-generation",
        license="unknown",
        tags=["peft", record["method"], PROJECT, f"base_model:adapter:{base.name}"],
        datasets=[data["hub"]] if data.get("hub") else None,
        model_name=title,
        eval_results=results,
    )
    return str(card.to_yaml())


def _facts(record: Record, base: Base, created_at: str | None) -> Iterable[str]:
    where = {
        "hub": f"{base.name} on the hub, commit {base.revision or 'not recorded'}",
        "embedded": f"{base.name}, the small base that comes with {PROJECT}",
        "local": f"{base.name}, a local folder of that name on the machine it was trained on",
    }[base.kind]
    content = "" if base.kind == "hub" else f"; sha256 over its files {base.content}"
    held = f", held in {base.quantization}" if base.quantization else f", in {base.dtype}"
    yield f"Base: {where}{held}{content}"
    yield f"Method: {record['method']}; {_settings(record['options'])}"
    trained, total = (record["parameters"][key] for key in ("trainable", "total"))
    yield f"Trained parameters: {trained:,} of {total:,} ({100 * trained / total:.2f}%)"
    yield f"Training: {_settings(training_settings(record))}"
    yield from _data(record)
    yield f"Protocol: {record['protocol']}"
    git = record["git"]
    changed = ", with uncommitted changes" if git["dirty"] else ""
    yield f"Made with: {PROJECT} at commit {git['commit'] or 'unknown'}{changed}; " + ", ".join(
        f"{name} {version}" for name, version in record["versions"].items()
    )
    seconds = record["seconds"]
    yield (
        f"Made on: {record['device']}; fine-tuning {seconds['finetune']:.0f} s, evaluation "
        f"{seconds['evaluate']:.0f} s" + (f"; begun {created_at}" if created_at else "")
    )
    yield f"Identity of the run: {record['identity']}"


def _data(record: Record) -> Iterable[str]:
    data, rows = record["config"]["data"], record["rows"]
    source = data["source"]
    if source == "synthetic":
        source = f"synthetic problems, made by {PROJECT}"
    if data.get("hub"):
        source = f"{data['hub']} on the hub, commit {data.get('revision') or 'not recorded'}"
    left_out = [
        f"{rows[key]:,} {words}"
        for key, words in (
            ("train_too_long", "left out as too long"),
            ("train_cut", "cut"),
            ("train_without_output", "without an answer"),
        )
        if rows.get(key)
    ]
    yield (
        f"Trained on: {', '.join(data['train'])} ({source}), "
        + ", ".join([f"{rows['train']:,} rows", *left_out])
        + f"; sha256 of the rows {record['hashes'].get('train')}"
    )
    yield (
        f"Tested on: {', '.join(data['tests'])}, {record.get('split', 'test')} rows; sha256 of the "
        f"rows {record['hashes'].get('tests')}"
    )
    others = [name for name, mark in (record.get("data_files") or {}).items() if "another" in mark]
    if others:
        yield f"Not the published tables' files, by their hash: {', '.join(others)}"
    overlap = record.get("overlap")
    if overlap:
        found = sum(counts["masked"] for counts in overlap["tests"].values())
        told = f"{found:,} test rows stand" if found else "no test row stands"
        done = f"; those were {'kept in' if overlap['kept'] else 'left out of'} training"
        yield (
            f"Overlap: {told} in the training rows, to the letter or with numbers masked"
            + (done if found else "")
        )


def _loading(base: Base, ours: bool) -> Iterable[str]:
    arguments = [json.dumps(base.name)]
    if base.revision:
        arguments.append(f"revision={json.dumps(base.revision)}")
    if base.dtype != "auto":
        arguments.append(f'dtype="{base.dtype}"')
    lines = ["import peft", "import transformers"]
    if ours:
        lines += ["", f"import bench.methods  # of {PROJECT}: tells peft of the method"]
    lines += [
        "",
        f"base = transformers.AutoModelForCausalLM.from_pretrained({', '.join(arguments)})",
        'model = peft.PeftModel.from_pretrained(base, "PATH/OF/THIS/FOLDER").eval()',
    ]
    yield _fenced("\n".join(lines), "python")
    if base.kind == "embedded":
        yield f"Run it in the folder of {PROJECT}: the base is there."
    elif ours:
        yield f"{PROJECT} has to be on Python's path: peft alone does not know the method."
    if base.kind == "local":
        yield in_markdown(f"Give the path of your copy in place of {base.name}.")
    if base.quantization:
        yield in_markdown(
            f"The base was held in {base.quantization}: give transformers the same "
            "quantization_config, or outputs differ."
        )


def _generation(record: Record) -> str:
    protocol = record["config"]["protocol"]
    beams = protocol.get("num_beams", 1)
    how = "greedily" if beams == 1 else f"with {beams} beams"
    return f"Answers were generated {how}, at most {protocol['max_new_tokens']} tokens."


def _scores(record: Record) -> str:
    ends = run_intervals(record["scores"])
    rows = [("Set", "Accuracy, %", "95% interval", "Items", "Chance", "Majority class")]
    for key, score in record["scores"].items():
        majority = (score.get("majority") or {}).get("accuracy")
        rows.append(
            (
                score["label"],
                f"{score['accuracy']:.1f}",
                _interval(ends[key]),
                str(score["n"]),
                _figure(score.get("chance")),
                _figure(majority),
            )
        )
    items = sum(score["n"] for score in record["scores"].values())
    for name, value in record["averages"].items():
        rows.append((name, f"{value:.1f}", _interval(ends[name]), str(items), "-", "-"))
    lines = [" | ".join(map(in_markdown, row)) for row in rows]
    return "\n".join(
        f"| {line} |" for line in [lines[0], "--- | --: | --: | --: | --: | --:", *lines[1:]]
    )


def _score_notes(record: Record) -> Iterable[str]:
    if record["config"]["data"]["source"] == "synthetic":
        yield "The sets are synthetic problems in the benchmarks' shapes, not the benchmarks."
    yield (
        "Intervals: bootstrap over the test items. They are of this one run; another seed's figure "
        "may lie outside."
    )
    yield "Micro: share of all items together; macro: plain mean of the sets."
    yield (
        "Chance: guessing among a problem's choices. Majority class: always giving the set's most "
        "frequent answer."
    )
    rules = dict.fromkeys(
        f"{score['label']} {score['rule']}"
        for score in record["scores"].values()
        if score.get("rule")
    )
    if rules:
        yield f"Answers read by: {', '.join(rules)}"
    too_long = sum(score.get("too_long") or 0 for score in record["scores"].values())
    if too_long:
        yield f"{too_long} problems were too long for the model and count as wrong."
    found = record.get("forgetting")
    if found:
        before, after = (found[when]["nats_per_token"] for when in ("before", "after"))
        yield f"Cross-entropy of general text, nats a token: {before:.3f} before, {after:.3f} after"


def _licences(record: Record, base: Base) -> Iterable[str]:
    if base.kind == "embedded":
        yield f"Base: part of {PROJECT}, Apache-2.0."
    else:
        yield (
            "Base: its licence is not known to the program that wrote this card. It binds this "
            "adapter's use, and may forbid some: read it where the base was taken from."
        )
    if record["config"]["data"]["source"] == "synthetic":
        yield f"Data: made by {PROJECT}, Apache-2.0."
    else:
        yield (
            "Data: the licences of the training and test files are not known to the program that "
            "wrote this card; some benchmarks have none. Ask where the files were taken from."
        )
    yield (
        "This adapter: none is stated. The front matter has license: unknown until whoever "
        "publishes it sets one that the two above allow."
    )


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _interval(ends: Sequence[float]) -> str:
    return f"{ends[0]:.1f} to {ends[1]:.1f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {markdown_line(line)}" for line in lines)


def _fenced(text: str, language: str) -> str:
    """A block of code whose fence nothing in it can close."""
    shown = "\n".join(map(printable, text.split("\n")))
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}"
