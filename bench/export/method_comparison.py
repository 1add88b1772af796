"""A run's record in the form in which peft's method_comparison keeps its results.

That suite (github.com/huggingface/peft, method_comparison/) has a JSON file for each experiment, in
three parts: `run_info`, `train_info`, `meta_info`. What is not measured here stands there as null:
the accelerator's memory, accuracy on validation rows, and facts of the machine and of the hub. A
test accuracy is a share there, from 0 to 1; here it is the micro average over the test sets, and
`test accuracy by set` is a key of our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.names import plain_curvature
from bench.report.records import Record
from bench.report.shared_record import base_of

PACKAGES = ("transformers", "peft", "datasets", "bitsandbytes", "torch")
SYSTEM = ("system", "release", "version", "machine", "processor")


def method_comparison(
    record: Record,
    adapter_config: Mapping[str, Any],
    file_size: int,
    created_at: str | None,
) -> dict[str, Any]:
    """The record in peft's form.

    Args:
        record: of a run that was trained.
        adapter_config: of its adapter.
        file_size: of its weights, in bytes.
        created_at: when the run began, in ISO 8601; None where that is not known.
    """
    base, seconds = base_of(record), record["seconds"]
    facts = [f"{base.name.rpartition('/')[2]}", f"seed{record['seed']}"]
    if record["curvature"] is not None:
        facts.insert(1, f"K{plain_curvature(record['curvature'])}")
    package_info: dict[str, str | None] = {}
    for name in PACKAGES:
        package_info[f"{name}-version"] = record["versions"].get(name)
        package_info[f"{name}-commit-hash"] = None
    data = record["config"]["data"]
    sets = dict.fromkeys([*data["train"], *data["tests"]])
    return {
        "run_info": {
            "created_at": created_at,
            "total_time": seconds["finetune"] + seconds["evaluate"],
            "experiment_name": f"{record['method']}/{'-'.join(facts)}",
            "peft_branch": None,
            "train_config": _train_config(record),
            "peft_config": dict(adapter_config),
            "error_msg": "",
        },
        "train_info": {
            "accelerator_memory_reserved_avg": None,
            "accelerator_memory_max": None,
            "accelerator_memory_reserved_99th": None,
            "train_time": seconds["finetune"],
            "file_size": file_size,
            "num_trainable_params": record["parameters"]["trainable"],
            "num_total_params": record["parameters"]["total"],
            "status": "success",
            "metrics": _metrics(record),
        },
        "meta_info": {
            "model_info": {"sha": base.revision, "created_at": None},
            "dataset_info": {
                name: {"sha": data.get("revision"), "created_at": None} for name in sets
            },
            "package_info": package_info,
            "system_info": {**dict.fromkeys(SYSTEM), "accelerator": record["device"]},
            "pytorch_info": None,
        },
    }


def _train_config(record: Record) -> dict[str, Any]:
    base, train, config = base_of(record), record["train"], record["config"]
    protocol, training = config["protocol"], record["training"]
    held = {"int8": "int8", "nf4": "int4"}.get(base.quantization or "", base.dtype)
    return {
        "model_id": base.name,
        "dtype": held,
        "max_seq_length": protocol["max_length"] or config["model"].get("context"),
        "batch_size": train["batch_size"],
        "batch_size_eval": config["evaluation"]["batch_size"],
        "max_steps": training["steps"],
        "eval_steps": _every([step for step, _ in training["validation"]]),
        "compile": False,
        "use_gc": train.get("gradient_checkpointing", False),
        "query_template": protocol["evaluation_prompt"].replace("{instruction}", "{query}"),
        "seed": record["seed"],
        "grad_norm_clip": train["gradient_clip"],
        "optimizer_type": "AdamW",
        "optimizer_kwargs": {"lr": train["lr"], "weight_decay": train["weight_decay"]},
        "lr_scheduler": train["decay"],
        "use_amp": str(train["precision"]).endswith("mixed"),
        "autocast_adapter_dtype": True,
        "generation_kwargs": {
            "max_new_tokens": protocol["max_new_tokens"],
            "num_beams": protocol.get("num_beams", 1),
        },
        "attn_implementation": None,
        "init_kv_cache_prefix": None,
    }


def _every(steps: Sequence[int]) -> int | None:
    """The steps between two validations, where they are evenly spaced."""
    gaps = {later - earlier for earlier, later in zip([0, *steps], steps, strict=False)}
    return gaps.pop() if len(gaps) == 1 else None


def _metrics(record: Record) -> list[dict[str, Any]]:
    """An entry for each validation, and the last one with what the test came to."""
    training, size = record["training"], record["train"]["batch_size"]
    losses = training["losses"]
    entries: list[dict[str, Any]] = []
    before = 0
    for step, loss in training["validation"]:
        entries.append(
            {
                "step": step,
                "valid accuracy": None,
                "valid loss": loss,
                "train loss": _mean_loss(losses, before, step),
                "train samples": step * size,
                "train time": None,
                "eval time": None,
                "tokens / sec": None,
                "mem allocated avg": None,
                "mem reserved avg": None,
                "elapsed time": None,
            }
        )
        before = step
    steps = training["steps"]
    start = entries[-2]["step"] if len(entries) > 1 else 0
    last = {
        "step": steps,
        "test accuracy": record["averages"]["micro"] / 100,
        "test accuracy by set": {
            key: score["accuracy"] / 100 for key, score in record["scores"].items()
        },
        "train loss": _mean_loss(losses, start, steps),
        "train samples": steps * size,
        "train total tokens": None,
    }
    return [*entries, last]


def _mean_loss(losses: Sequence[Sequence[float]], start: int, end: int) -> float | None:
    """Mean of the recorded losses of the steps from `start` to `end`, numbered from 0."""
    values = [loss for step, loss in losses if start <= step < end]
    return sum(values) / len(values) if values else None
