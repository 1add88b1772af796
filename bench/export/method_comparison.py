"""A run's record in the format of peft's method_comparison.

That suite (github.com/huggingface/peft, method_comparison/) stores each experiment as JSON with
`run_info`, `train_info` and `meta_info`. Null: not measured by this project. `test accuracy` is the
micro average as a share, from 0 to 1; `test accuracy by set` is an additional key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from bench.errors import InputError
from bench.names import plain_curvature
from bench.report.records import Record
from bench.report.shared_record import Base, base_of

PACKAGES = ("transformers", "peft", "datasets", "bitsandbytes", "torch")
MEMORY = tuple(f"accelerator_memory_{part}" for part in ("reserved_avg", "max", "reserved_99th"))
SYSTEM = ("system", "release", "version", "machine", "processor")
# Keys of a validation that are not measured.
UNMEASURED = (
    "valid accuracy", "train time", "eval time", "tokens / sec", "mem allocated avg",
    "mem reserved avg", "elapsed time",
)  # fmt: skip


def method_comparison(
    record: Record,
    adapter_config: Mapping[str, Any],
    file_size: int,
    created_at: str | None,
) -> dict[str, Any]:
    """The record of a run with training in peft's format; `file_size` of its weights in bytes."""
    base, data = base_of(record), record["config"]["data"]
    seconds, parameters = record["seconds"], record["parameters"]
    curvature = record["curvature"]
    of_curvature = [] if curvature is None else [f"K{plain_curvature(curvature)}"]
    name = [base.name.rpartition("/")[2], *of_curvature, f"seed{record['seed']}"]
    packages = {f"{name}-version": record["versions"].get(name) for name in PACKAGES}
    sets = dict.fromkeys([*data["train"], *data["tests"]])
    return {
        "run_info": {
            "created_at": created_at,
            "total_time": seconds["finetune"] + seconds["evaluate"],
            "experiment_name": f"{record['method']}/{'-'.join(name)}",
            "peft_branch": None,
            "train_config": _train_config(record, base),
            "peft_config": dict(adapter_config),
            "error_msg": "",
        },
        "train_info": {
            **dict.fromkeys(MEMORY),
            "train_time": seconds["finetune"],
            "file_size": file_size,
            "num_trainable_params": parameters["trainable"],
            "num_total_params": parameters["total"],
            "status": "success",
            "metrics": _metrics(record),
        },
        "meta_info": {
            "model_info": {"sha": base.revision, "created_at": None},
            "dataset_info": {key: {"sha": data["revision"], "created_at": None} for key in sets},
            "package_info": packages | {f"{name}-commit-hash": None for name in PACKAGES},
            "system_info": {**dict.fromkeys(SYSTEM), "accelerator": record["device"]},
            "pytorch_info": None,
        },
    }


def _train_config(record: Record, base: Base) -> dict[str, Any]:
    config, train, training = record["config"], record["train"], record["training"]
    protocol = config["protocol"]
    # The steps between two validations, if they are equal.
    gaps = {later - step for step, later in pairwise([0, *(s for s, _ in training["validation"])])}
    return {
        "model_id": base.name,
        "dtype": {None: base.dtype, "nf4": "int4"}.get(base.quantization, base.quantization),
        "max_seq_length": protocol["max_length"] or config["model"]["context"],
        "batch_size": train["batch_size"],
        "batch_size_eval": config["evaluation"]["batch_size"],
        "max_steps": training["steps"],
        "eval_steps": gaps.pop() if len(gaps) == 1 else None,
        "compile": train.get("compile", False),  # records of old runs lack it
        "use_gc": train["gradient_checkpointing"],
        "query_template": protocol["evaluation_prompt"].replace("{instruction}", "{query}"),
        "seed": record["seed"],
        "grad_norm_clip": train["gradient_clip"],
        "optimizer_type": "AdamW",
        "optimizer_kwargs": {"lr": train["lr"], "weight_decay": train["weight_decay"]},
        "lr_scheduler": train["decay"],
        "use_amp": str(train["precision"]).endswith("mixed"),
        "autocast_adapter_dtype": True,
        "generation_kwargs": {key: protocol[key] for key in ("max_new_tokens", "num_beams")},
        "attn_implementation": None,
        "init_kv_cache_prefix": None,
    }


def _metrics(record: Record) -> list[dict[str, Any]]:
    """One entry per validation, then one for the test."""
    training, size = record["training"], record["train"]["batch_size"]
    validation, losses = training["validation"], training["losses"]
    starts = [0, *(step for step, _ in validation)]
    entries = [
        {
            "step": step,
            "valid loss": loss,
            "train loss": _mean_loss(losses, start, step),
            "train samples": step * size,
            **dict.fromkeys(UNMEASURED),
        }
        for start, (step, loss) in zip(starts, validation, strict=False)
    ]
    if not record["scores"]:
        raise InputError("the run was not evaluated (evaluation.split=none): export one that was")
    by_set = {key: score["accuracy"] / 100 for key, score in record["scores"].items()}
    end = training["kept_step"]
    test = {
        "step": end,
        "test accuracy": record["averages"]["micro"] / 100,
        "test accuracy by set": by_set,
        "train loss": _mean_loss(losses, max(start for start in starts if start < end), end),
        "train samples": end * size,
        "train total tokens": None,
    }
    return [*entries, test]


def _mean_loss(losses: Sequence[Sequence[float]], start: int, end: int) -> float | None:
    """Mean of the recorded losses of the steps from `start` to `end`, numbered from 0."""
    values = [loss for step, loss in losses if start <= step < end]
    return sum(values) / len(values) if values else None
