"""What makes two runs the same: everything that can change a result, and nothing else.

An identity is the sha256 of plain settings, so it can be recomputed from a record. Contents replace
what names them: the hash of the rows for all settings of `data`, the hash of the weights for a
base's name and path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bench.tracking.record import PRETRAIN, TRAINING_PROTOCOL_KEYS

# Raised by hand when a change to the code alters results: runs of before are then run again.
RESULT_VERSION = 3
PRETRAIN_VERSION = 2

FLOAT32 = "torch.float32"
EXACT = "32-true"  # a precision in which how a step is split changes no result


def identity(
    settings: Mapping[str, Any], hashes: Mapping[str, str], precision: str, dtype: str
) -> str:
    """The identity of a fine-tuning run.

    Left out is what changes no result: where and how often things are saved (and validated, unless
    the best adapter is kept), and `force`; in float32 also batch sizes, the number of devices and
    gradient checkpointing; if nothing is trained, the method's options, the training settings, the
    training part of the protocol and the seed. Only methods that have a curvature have it among
    their options.

    Args:
        settings: a `bench.config.Experiment` as nested dictionaries.
        hashes: content hashes of base, test rows, and training rows or adapter.
        precision: of the training, resolved for the device.
        dtype: of the base's weights, resolved for the device.
    """
    method, model, evaluation = (settings[key] for key in ("method", "model", "evaluation"))
    trained = method["trained"] and settings["adapter"] is None
    # The hash of the training rows covers keep_overlap, the prompts cover style.
    left_out = {"keep_overlap", "style"} | (set() if trained else set(TRAINING_PROTOCOL_KEYS))
    fields = {
        "result_version": RESULT_VERSION,
        "method": method["name"],
        "module": method["module"],
        "dtype": dtype,
        "protocol": {k: v for k, v in settings["protocol"].items() if k not in left_out},
        "hashes": hashes,
    }
    # Rounding then depends on the shape of a batch, and of int8 on its other rows.
    quantised = model["quantization"] is not None
    evaluated = f"torch.{evaluation['dtype']}" if evaluation.get("dtype") else dtype
    if evaluated != dtype:
        fields["evaluation_dtype"] = evaluated
    if evaluated != FLOAT32 or quantised:
        fields["evaluation"] = {"batch_size": evaluation["batch_size"]}
    if evaluation["split"] != "test":
        fields["split"] = evaluation["split"]
    if evaluation["lm_eval"]:  # `hashes` covers lm_eval_include
        fields["lm_eval"] = {
            "tasks": sorted(set(evaluation["lm_eval"])),
            "fewshot": evaluation["lm_eval_fewshot"],
            "limit": evaluation["lm_eval_limit"],
        }
    if model["context"] is not None:
        fields["context"] = model["context"]
    if quantised:
        fields["quantization"] = model["quantization"]
    if trained:
        upcast = dtype != FLOAT32 and settings["train"]["precision"] == EXACT
        exact = (upcast or dtype == FLOAT32) and precision == EXACT and not quantised
        fields["options"] = {key: _plain(value) for key, value in method["options"].items()}
        fields["train"] = _training(settings["train"], precision, exact) | (
            {"dtype": FLOAT32} if upcast else {}
        )
        fields["seed"] = settings["seed"]
    return _digest(fields)


def _training(settings: Mapping[str, Any], precision: str, exact: bool) -> dict[str, Any]:
    left_out = {"checkpoint_minutes"}
    if settings["keep"] == "last":
        left_out |= {"validate_every", "validations"}
    elif settings["validate_every"]:
        left_out.add("validations")
    if exact:
        left_out |= {"micro_batch_size", "gradient_checkpointing"}
    if exact or settings["devices"] == 1:
        left_out |= {"devices", "sharded"}
    kept = {key: value for key, value in settings.items() if key not in left_out}
    return kept | {"precision": precision}


def pretraining_identity(
    settings: Mapping[str, Any],
    architecture: Mapping[str, Any],
    hashes: Mapping[str, str],
    precision: str,
) -> str:
    """The identity of a pretraining run.

    The model's whole configuration replaces kind, size and choices. Left out are paths, how often
    things are saved and measured, the tasks of lm-eval, and in float32 the rows of a forward pass
    and the number of devices.

    Args:
        settings: a `bench.pretraining.settings.Pretraining` as nested dictionaries.
        architecture: the model's configuration as a dictionary.
        hashes: content hashes of text and tokenizer.
        precision: of the training, resolved for the device.
    """
    left_out = {"checkpoint_minutes", "evaluations"}
    if precision == EXACT:
        left_out.add("micro_rows")
    if precision == EXACT or settings["train"]["devices"] == 1:
        left_out |= {"devices", "sharded"}
    train = {key: value for key, value in settings["train"].items() if key not in left_out}
    fields = {
        "kind": PRETRAIN,
        "version": PRETRAIN_VERSION,
        "architecture": {k: v for k, v in architecture.items() if k != "transformers_version"},
        "hashes": hashes,
        "train": train | {"precision": precision},
        "seed": settings["seed"],
    }
    return _digest(fields)


def identity_of_record(record: Mapping[str, Any]) -> str:
    """The identity that a recorded run has today, of either kind.

    It differs from the recorded one if the record was altered or is of another version.
    """
    settings, hashes = record["config"], record["hashes"]
    precision = record["train"]["precision"]
    if record.get("kind") == PRETRAIN:
        return pretraining_identity(settings, record["model_config"], hashes, precision)
    return identity(settings, hashes, precision, record["dtype"])


def _plain(value: Any) -> Any:
    """A number as a float: 1 and 1.0 are the same curvature."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number else value


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
