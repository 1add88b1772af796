"""A run's record, and the parts of it that the tracking store shows as columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Keys of a recorded protocol that only a run that trains depends on.
TRAINING_PROTOCOL_KEYS = (
    "train_prompt",
    "train_prompt_with_input",
    "target",
    "max_length",
    "cut_long_rows",
    "cut_rows_end",
)
TAGS = ("method", "curvature", "seed", "model", "data", "protocol", "device")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `section.key`, the form in which the store shows parameters."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def metrics(record: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """(name, value, step) of all that the store draws or sorts by."""
    values = [
        (f"{name}/{key}", float(score[name]), 0)
        for key, score in record["scores"].items()
        for name in ("accuracy", "format_rate", "too_long")
    ]
    values += [(f"accuracy/{name}", value, 0) for name, value in record["averages"].items()]
    values += [(f"parameters/{k}", float(v), 0) for k, v in record["parameters"].items()]
    values += [(f"seconds/{k}", v, 0) for k, v in record["seconds"].items() if v is not None]
    trained = record["rows"]["train"] * (
        record["train"]["epochs"] if record["rows"]["train"] else 0
    )
    asked = sum(score["n"] for score in record["scores"].values())
    values += [("rows/trained", float(trained), 0), ("rows/asked", float(asked), 0)]
    training = record["training"]
    values += [("loss", loss, step) for step, loss in training.get("losses", [])]
    values += [("validation_loss", loss, step) for step, loss in training.get("validation", [])]
    for when, gates in training.get("gates", {}).items():
        step = training["steps"] if when == "end" else 0
        for module, summary in gates_by_module(gates).items():
            values += [(f"gate_{name}/{module}", value, step) for name, value in summary.items()]
    if "padding" in training:
        values.append(("padding_share", training["padding"], 0))
    values += [(name, value, 0) for name, value in _lm_eval(record.get("lm_eval", {}))]
    for when in ("before", "after") if "forgetting" in record else ():
        losses = record["forgetting"][when]
        values += [(f"forgetting/{name}_{when}", value, 0) for name, value in losses.items()]
    return values


def _lm_eval(asked: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """lm-eval's figures, as lm_eval/<task>/<metric>."""
    for entry in asked.values():
        for task, found in entry["tasks"].items():
            for metric, figure in found["metrics"].items():
                # The store takes these characters in a name and no others.
                name = re.sub(r"[^\w\-./ :]", "_", f"lm_eval/{task}/{metric}")
                yield name, figure["value"]
                if figure["stderr"] is not None:
                    yield f"{name}_stderr", figure["stderr"]


def efficiency_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a measurement that are compared over time.

    By case, work and method the ratio to LoRA and the median in seconds; and where the evaluation
    was timed, each loop's problems a second and its ratio to the published one.
    """
    found: dict[str, float] = {}
    for case in report["cases"]:
        compiled = "_compiled" if case["compiled"] else ""
        for work, methods in case["works"].items():
            for method, timing in methods.items():
                name = f"{case['case']}_{case['dtype']}{compiled}/{work}/{method}"
                found[f"ratio/{name}"] = timing["ratio"]
                found[f"seconds/{name}"] = timing["median"]
    if evaluation := report.get("evaluation"):
        for name, loop in evaluation["loops"].items():
            found[f"ratio/evaluation/{name}"] = loop["ratio"]
            found[f"problems_per_second/{name}"] = loop["problems_per_second"]
        found["same_predictions/evaluation"] = evaluation["same_predictions"]
    return found


def gates_by_module(gates: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """A summary for each module type over its layers, in order of appearance.

    Args:
        gates: of one moment, as a record has them in `training.gates.start` or `.end`.

    Returns:
        `mean`, `median` and `variation` averaged over layers, the `largest` gate of all, and the
        `clamped` share of tokens.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for layer in gates:
        found.setdefault(layer["module"], []).append(layer)
    return {
        module: {
            **{k: sum(x[k] for x in layers) / len(layers) for k in ("mean", "median", "variation")},
            "largest": max(layer["largest"] for layer in layers),
            "clamped": sum(layer["clamped"] for layer in layers) / len(layers),
        }
        for module, layers in found.items()
    }


def tags(record: Mapping[str, Any]) -> dict[str, str]:
    """What the dashboard filters by."""
    found = {key: str(record[key]) for key in TAGS if record[key] is not None}
    return found | {
        "git_commit": str(record["git"]["commit"]),
        "git_dirty": str(record["git"]["dirty"]).lower(),
    }
