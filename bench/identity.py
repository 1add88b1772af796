"""What makes two runs the same: everything that can change a result, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from bench.config import Experiment, is_number
from bench.tracking.record import TRAINING_PROTOCOL_KEYS

# Raised by hand when a change to the code alters results: finished runs then count no longer.
RESULT_VERSION = 2

# Keys that runs on record do not have. At their default they are no part of an identity.
LATER_PROTOCOL_KEYS = (
    "choice_rule",
    "train_prompt_with_input",
    "evaluation_prompt_with_input",
    "choice_prompt",
    "choice_prompt_with_input",
    "choice_max_new_tokens",
    "strip",
    "cut_long_rows",
    "cut_rows_end",
    "answer_end",
    "num_beams",
)

LATER_TRAIN_KEYS = ("validate_every", "keep", "gradient_checkpointing")
FLOAT32 = "torch.float32"


def identity(experiment: Experiment, hashes: dict[str, str], precision: str, dtype: str) -> str:
    """sha256 over all that can change a run's result.

    Contents stand for what names them: the hash of the rows for every setting of `data`, the hash
    of the weights for the base's name and path. Left out is what cannot change a result: where
    and how often things are saved (and validated, unless the best adapter is kept), `force`, and in
    float32 the batch sizes and the number of devices, which only split work, and whether
    activations are kept or computed twice; the training settings, the training rows and the seed
    where nothing is trained. A curvature is among the options of the methods that have one, so for
    the others it makes no difference.

    Args:
        experiment: the run.
        hashes: content hashes of base, test rows, and training rows or adapter.
        precision: of the training, resolved for the device.
        dtype: of the base's weights, resolved for the device.
    """
    protocol = _as_ever(experiment.protocol, LATER_PROTOCOL_KEYS)
    protocol.pop("keep_overlap")  # the hash of the training rows says it
    protocol.pop("style")  # the prompts say it
    fields = {
        "result_version": RESULT_VERSION,
        "method": experiment.method.name,
        "module": experiment.method.module,
        "dtype": dtype,
        "protocol": protocol,
        "hashes": hashes,
    }
    # Rounding then depends on the shape of a batch, and of int8 on what else is in it.
    quantised = experiment.model.quantization is not None
    if dtype != FLOAT32 or quantised:
        fields["evaluation"] = {"batch_size": experiment.evaluation.batch_size}
    if experiment.evaluation.split != "test":
        fields["split"] = experiment.evaluation.split
    if experiment.evaluation.lm_eval:  # what is in lm_eval_include, `hashes` says
        fields["lm_eval"] = {
            "tasks": sorted(set(experiment.evaluation.lm_eval)),
            "fewshot": experiment.evaluation.lm_eval_fewshot,
            "limit": experiment.evaluation.lm_eval_limit,
        }
    if experiment.model.context is not None:
        fields["context"] = experiment.model.context
    if quantised:
        fields["quantization"] = experiment.model.quantization
    if experiment.trained:
        train = _as_ever(experiment.train, LATER_TRAIN_KEYS) | {"precision": precision}
        train.pop("checkpoint_minutes")
        if experiment.train.keep == "last":
            train.pop("validate_every", None)
        if experiment.train.keep == "last" or experiment.train.validate_every:
            train.pop("validations")
        exact = dtype == FLOAT32 and precision == "32-true" and not quantised
        if exact:
            train.pop("micro_batch_size")
            train.pop("gradient_checkpointing", None)
        if exact or train["devices"] == 1:
            train.pop("devices")
        fields |= {
            "options": {key: _plain(value) for key, value in experiment.method.options.items()},
            "train": train,
            "seed": experiment.seed,
        }
    else:
        for key in TRAINING_PROTOCOL_KEYS:
            protocol.pop(key, None)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _as_ever(settings: Any, later: tuple[str, ...]) -> dict[str, Any]:
    """Settings by name, less those of `later` that are as they were before they could be set."""
    given = dataclasses.asdict(settings)
    defaults = {known.name: known.default for known in dataclasses.fields(settings)}
    return {k: v for k, v in given.items() if k not in later or v != defaults[k]}


def _plain(value: Any) -> Any:
    """1 and 1.0 are the same curvature, however they are typed."""
    return float(value) if is_number(value) else value
