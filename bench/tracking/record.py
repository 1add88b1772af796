"""A run's record, and its parameters, metrics and tags in the tracking store."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.errors import printable

# Keys of a recorded protocol that only a run that trains depends on.
TRAINING_PROTOCOL_KEYS = (
    "train_prompt",
    "train_prompt_with_input",
    "target",
    "max_length",
    "cut_long_rows",
    "cut_rows_end",
)
PRETRAIN = "pretrain"  # the kind of a record, and of a run of the store
PRETRAIN_TAGS = ("model", "architecture", "size", "seed", "data", "device")
TAGS = ("method", "curvature", "seed", "model", "data", "protocol", "device")

# Settings that are not parameters in the store: tracking, long texts, and learning rates that were
# not used (`train.lr` is the one that was). The record has them all.
UNLISTED = re.compile(
    r"tracking\..*|force|protocol\..*prompt.*|method\.(module|trained|lr\..*)|model\.check_memory"
)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `section.key`."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def params(settings: Mapping[str, Any]) -> dict[str, str]:
    """A run's nested settings as parameters in the store, named as on the command line."""
    return {
        key.replace("method.options.", "method."): printable(str(value))
        for key, value in flat(settings).items()
        if value not in (None, []) and not UNLISTED.fullmatch(key)
    }


def metrics(record: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """(name, value, step) of a run's metrics, in the order of the dashboard."""
    if record.get("kind") == PRETRAIN:
        return list(_pretraining_metrics(record))
    values = [(f"accuracy/{name}", value, 0) for name, value in record["averages"].items()]
    values += [
        (f"{name}/{key}", float(score[name]), 0)
        for name in ("accuracy", "format_rate", "too_long")
        for key, score in record["scores"].items()
    ]
    likelihoods = record.get("nll", {}) | {k: s.get("nll") for k, s in record["scores"].items()}
    values += [(f"nll/{k}", v, 0) for k, v in likelihoods.items() if v is not None]
    values += [(f"parameters/{k}", float(v), 0) for k, v in record["parameters"].items()]
    values += [(f"seconds/{k}", v, 0) for k, v in record["seconds"].items() if v is not None]
    rows = record["rows"]["train"]
    trained = rows * record["train"]["epochs"] if rows else 0
    asked = sum(score["n"] for score in record["scores"].values())
    values += [("rows/trained", float(trained), 0), ("rows/asked", float(asked), 0)]
    training = record["training"]
    values += [("loss/train", loss, step) for step, loss in training.get("losses", [])]
    values += [("loss/validation", loss, step) for step, loss in training.get("validation", [])]
    for when, gates in training.get("gates", {}).items():
        step = training["steps"] if when == "end" else 0
        for module, summary in gates_by_module(gates).items():
            values += [(f"gate_{name}/{module}", value, step) for name, value in summary.items()]
    if "padding" in training:
        values.append(("rows/padding_share", training["padding"], 0))
    values += [(name, value, 0) for name, value in lm_eval_metrics(record.get("lm_eval", {}))]
    for when in ("before", "after") if "forgetting" in record else ():
        losses = record["forgetting"][when]
        values += [(f"forgetting/{name}_{when}", value, 0) for name, value in losses.items()]
    return values


def _pretraining_metrics(record: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    training = record["training"]
    last = training["steps"]
    yield f"bits_per_byte/{record['split']}", training["bits_per_byte"], last
    for step, value in training["validation"]:
        yield "bits_per_byte/part", value, step
    for step, value in training["losses"]:
        yield "loss/train", value, step
    yield "tokens_per_second", record["tokens_per_second"], 0
    yield "utilisation", record["utilisation"], 0
    yield "tokens", float(training["tokens"]), 0
    for name, count in training["parameters"].items():
        yield f"parameters/{name}", float(count), 0
    yield "seconds/pretrain", training["seconds"], 0
    for step, curvatures in training["curvatures"]:
        for name, value in curvatures.items():
            yield f"curvature/{name}", value, step
    for layer in training["layers"]["routing"]:
        yield f"routing_entropy/block_{layer['block']}", layer["entropy"], last
    for name, value in lm_eval_metrics(record.get("lm_eval", {})):
        yield name, value, 0


def store_name(name: str) -> str:
    """The name of a metric or parameter in the store, which refuses many characters, and `..`.

    A test set is named after its folder, whose name may contain anything, and a sweep's parameter
    after the override, which may begin with +.
    """
    parts = (re.sub(r"[^\w\-. :]", "_", part) for part in name.split("/"))
    return "/".join(part if part.strip(".") else "_" * max(1, len(part)) for part in parts)[:250]


def lm_eval_metrics(asked: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """lm-eval's scores of a record, as lm_eval/<task>/<metric>."""
    for entry in asked.values():
        for task, found in entry["tasks"].items():
            for metric, figure in found["metrics"].items():
                name = f"lm_eval/{task}/{metric}"
                yield name, figure["value"]
                if figure["stderr"] is not None:
                    yield f"{name}_stderr", figure["stderr"]


def efficiency_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of an efficiency measurement.

    By case, operation and method the ratio to LoRA and the median in seconds; if they were
    measured, the evaluation loops' problems per second and ratio to the published one, the speed of
    delta relative to the public routine, and HELM's time relative to its twin's.
    """
    found: dict[str, float] = {}
    for case in report["cases"]:
        words = [case["case"], case["dtype"], *(k for k in ("compiled", "liger") if case.get(k))]
        if case["dtype"] != "float32" and case.get("regime"):
            words.append(case["regime"])
        for work, methods in case["works"].items():
            for method, timing in methods.items():
                name = f"{'_'.join(words)}/{work}/{method}"
                found[f"ratio/{name}"] = timing["ratio"]
                found[f"seconds/{name}"] = timing["median"]
    if evaluation := report.get("evaluation"):
        for name, loop in evaluation["loops"].items():
            found[f"ratio/evaluation/{name}"] = loop["ratio"]
            found[f"problems_per_second/{name}"] = loop["problems_per_second"]
        found["same_predictions/evaluation"] = evaluation["same_predictions"]
    if hyperbolicity := report.get("hyperbolicity"):
        for size in hyperbolicity["sizes"]:
            for name, routine in size["routines"].items():
                found[f"ratio/delta_{size['points']}/{name.replace(',', '')}"] = routine["ratio"]
        found["seconds/delta_of_prompts"] = hyperbolicity["seconds"]
    if helm := report.get("helm"):
        for own, pair in helm["pairs"].items():
            for work, models in pair["works"].items():
                found[f"ratio/{own}/{work}"] = models[own]["ratio"]
                found[f"seconds/{own}/{work}"] = models[own]["seconds"]
    return found


def embeddings_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of an embedding study.

    The exponent of each set, Spearman's rho of each kind, and mean relative deltas with their
    controls; what could not be measured is left out.
    """
    found: dict[str, float | None] = {}
    for row in report["frequency"]:
        found[f"gamma/{row['set']}"] = row["gamma"]
    for row in report["norms"]["correlations"]:
        kind = f"{row['role']}{'_centred' if row['centred'] else ''}"
        found[f"rho/{kind}/{row['counted']}/{row['tokens_of']}"] = row["rho"]
    for part, own in (("prompts", "embeddings"), ("hidden", "states")):
        for row in report[part]:
            names = [row["metric"], row["base_point"], row["set"]]
            names += [row["model"]] if part == "hidden" else []
            for kind in (own, "gaussian", "shuffled"):
                found["/".join(["delta", part, kind, *names])] = sum(row[kind]) / len(row[kind])
    return {name: float(value) for name, value in found.items() if value is not None}


def gates_by_module(gates: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """A summary of each module type over its layers, in order of appearance.

    `gates` is `training.gates.start` or `.end` of a record. `mean`, `median`, `variation`, the
    `clamped` share of tokens and, if the variant has one, the `curvature` K are means over layers;
    `largest` is the maximum.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for layer in gates:
        found.setdefault(layer["module"], []).append(layer)
    return {module: _over_layers(layers) for module, layers in found.items()}


def _over_layers(layers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    summary = {"largest": max(layer["largest"] for layer in layers)}
    for key in ("mean", "median", "variation", "clamped", "curvature"):
        known = [layer[key] for layer in layers if layer.get(key) is not None]
        if known:
            summary[key] = sum(known) / len(known)
    return summary


def tags(record: Mapping[str, Any]) -> dict[str, str]:
    """A run's tags, for the dashboard's filters."""
    names = PRETRAIN_TAGS if record.get("kind") == PRETRAIN else TAGS
    found = {key: printable(str(record[key])) for key in names if record[key] is not None}
    return found | {
        "git_commit": str(record["git"]["commit"]),
        "git_dirty": str(record["git"]["dirty"]).lower(),
    }
