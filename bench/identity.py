"""What makes two runs the same: everything that can change a result, and nothing else.

An identity is the sha256 of plain settings, so it can be recomputed from a record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bench.data.prompts import PLAIN
from bench.files import digest
from bench.tracking.record import PRETRAIN, TRAINING_PROTOCOL_KEYS, flat

# Raised by hand when a change to the code alters results: earlier runs are then run again.
RESULT_VERSION = 4
PRETRAIN_VERSION = 3

FLOAT32 = "torch.float32"
EXACT = "32-true"  # a precision in which how a step is split changes no result
SPLIT = (  # how it is split
    "micro_batch_size", "micro_tokens", "gradient_checkpointing", "devices", "sharded",
)  # fmt: skip
# The authors' layer clamps K's gradient in each forward pass, so that these change its result. The
# values that all recorded runs have are no part of an identity.
CLAMPED = {"micro_batch_size": 4, "micro_tokens": None, "devices": 1}

# Switches that round differently if they are on; if off, they are not part of an identity.
SWITCHES = ("train.compile", "evaluation.compile")

ROWS = "the hashes of the rows cover it"
BASE = "the hash of the base covers it"
STORE = dict.fromkeys(
    ["tracking.folder", "tracking.uri", "tracking.experiment", "tracking.parent"],
    "it says where a run is recorded",
)
# The settings that are not part of an identity, with the reason. All others are.
LEFT_OUT = {
    "method.lr": "train.lr is the rate of this run",
    "model.name": BASE,
    "model.path": BASE,
    "model.revision": BASE,
    "model.source": BASE,
    "model.published": "a label of tables",
    "model.dtype": "it is resolved for the device",
    "model.prompt_style": "the prompts of the protocol cover it",
    "model.check_memory": "it refuses a run or changes nothing",
    **dict.fromkeys(
        ["data." + key for key in (
            "source", "train", "tests", "root", "hub", "revision", "gsm8k", "steps", "limit",
            "held_out", "keep_overlap", "validation", "train_size", "test_size", "largest",
            "mawps_steps", "svamp_distractors", "gsm8k_steps", "aqua_steps", "seed",
        )],
        ROWS,
    ),
    "train.precision": "it is resolved for the device",
    "train.checkpoint_minutes": "a run that resumes ends as one that was not interrupted",
    "protocol.keep_overlap": ROWS,
    "protocol.style": "the prompts of the protocol cover it",
    "evaluation.lm_eval_include": "the hash of its files covers it",
    "evaluation.forgetting": "the hash of the text covers it",
    **STORE,
    "adapter": "the hash of the adapter covers it",
    "force": "it runs the same again",
}  # fmt: skip
# The same for pretraining.
PRETRAINING_LEFT_OUT = {
    **dict.fromkeys(
        ["model." + key for key in ("name", "kind", "size", "tokenizer")],
        "the configuration of the model and the hash of its tokenizer cover it",
    ),
    **dict.fromkeys(
        ["text." + key for key in ("source", "path", "separator", "field", "documents", "seed")],
        "the hash of the text covers it",
    ),
    **dict.fromkeys(
        ["evaluation." + key for key in (
            "batch_size", "lm_eval", "lm_eval_fewshot", "lm_eval_limit",
            "lm_eval_include", "forgetting", "dtype", "batching", "compile",
        )],
        "a finished model is evaluated on further tasks; it is not trained again",
    ),
    "train.precision": "it is resolved for the device",
    "train.evaluations": "how often the loss is logged; that of the end always is",
    "train.checkpoint_minutes": "a run that resumes ends as one that was not interrupted",
    **STORE,
    "force": "it runs the same again",
}  # fmt: skip


def identity(
    settings: Mapping[str, Any], hashes: Mapping[str, str], precision: str, dtype: str
) -> str:
    """The identity of a fine-tuning run.

    Left out are `LEFT_OUT`, and what has no effect in this run: in float32 batch sizes, the way of
    batching, the number of devices and gradient checkpointing; the way of batching of a beam
    search; a template of plain prompts; validations without validation rows; if nothing is trained,
    the method's options, the training settings, the training part of the protocol and the seed.
    Only methods that have a curvature have it among their options.

    Args:
        settings: a `bench.config.Experiment` as nested dictionaries.
        hashes: content hashes of base, test rows, and training rows or adapter.
        precision: precision of the training, resolved for the device.
        dtype: dtype of the base's weights, resolved for the device.
    """
    method, train = settings["method"], settings["train"]
    trained = method["trained"] and settings["adapter"] is None
    upcast = dtype != FLOAT32 and train["precision"] == EXACT
    evaluated = settings["evaluation"]["dtype"]
    # Of int8, rounding depends on the other rows of a batch.
    plain = settings["model"]["quantization"] is None
    left_out = set(LEFT_OUT)
    if evaluated is None or f"torch.{evaluated}" == dtype:
        left_out.add("evaluation.dtype")
        evaluated = dtype.removeprefix("torch.")
    if plain and evaluated == "float32":
        left_out |= {"evaluation.batch_size", "evaluation.batching"}
    if settings["protocol"]["num_beams"] > 1:
        left_out.add("evaluation.batching")
    if not settings["evaluation"]["lm_eval"]:
        left_out |= {"evaluation.lm_eval_fewshot", "evaluation.lm_eval_limit"}
    if settings["protocol"]["template"] == PLAIN:
        left_out.add("protocol.template")
    if train["devices"] == 1:
        left_out.add("train.sharded")
    if train.get("micro_tokens"):  # in its place
        left_out.add("train.micro_batch_size")
    if plain and precision == EXACT and (upcast or dtype == FLOAT32):
        left_out |= {"train." + key for key in SPLIT}
        if settings["method"]["options"].get("variant") == "authors":
            left_out -= {f"train.{k}" for k, usual in CLAMPED.items() if train.get(k) != usual}
    if train["validate_every"] or not settings["data"]["validation"]:
        left_out.add("train.validations")
    if not settings["data"]["validation"]:
        left_out.add("train.validate_every")
    kept = _kept(settings, left_out)
    if not trained:
        of_training = {"seed", *(f"protocol.{key}" for key in TRAINING_PROTOCOL_KEYS)}
        aside = ("train.", "method.options.")
        kept = {k: v for k, v in kept.items() if k not in of_training and not k.startswith(aside)}
    kept = {key: value for key, value in kept.items() if value or key not in SWITCHES}
    for key in ("evaluation.lm_eval", "method.options.target_modules"):
        if isinstance(kept.get(key), list):
            kept[key] = sorted(set(kept[key]))
    kept |= {"result_version": RESULT_VERSION, "hashes": hashes, "dtype": dtype}
    if trained:
        kept |= {"precision": precision} | ({"train.dtype": FLOAT32} if upcast else {})
    return digest(kept)


def pretraining_identity(
    settings: Mapping[str, Any],
    architecture: Mapping[str, Any],
    hashes: Mapping[str, str],
    precision: str,
) -> str:
    """The identity of a pretraining run.

    Left out are `PRETRAINING_LEFT_OUT`, and in float32 the rows of a forward pass and the number of
    devices. The settings, a `bench.pretraining.settings.Pretraining`, and the model's configuration
    are nested dictionaries; the hashes are of text and tokenizer.
    """
    left_out = set(PRETRAINING_LEFT_OUT)
    if precision == EXACT:
        left_out.add("train.micro_rows")
    if precision == EXACT or settings["train"]["devices"] == 1:
        left_out |= {"train.devices", "train.sharded"}
    plain = {key: value for key, value in settings.items() if key != "model"}
    kept = _kept(plain, left_out)
    train = {key.partition(".")[2]: kept.pop(key) for key in [*kept] if key.startswith("train.")}
    fields: dict[str, Any] = {
        "kind": PRETRAIN,
        "version": PRETRAIN_VERSION,
        "architecture": {k: v for k, v in architecture.items() if k != "transformers_version"},
        "hashes": hashes,
        "train": train | {"precision": precision},
    }
    if precision != EXACT:
        fields["half_precision_version"] = 2  # raised if results change in half precision only
    return digest(fields | kept)


def identity_of_record(record: Mapping[str, Any]) -> str:
    """The identity that a recorded run has now, of either kind.

    It differs from the recorded one if the record was altered or has another version.
    """
    settings, hashes = record["config"], record["hashes"]
    precision = record["train"]["precision"]
    if record.get("kind") == PRETRAIN:
        return pretraining_identity(settings, record["model_config"], hashes, precision)
    return identity(settings, hashes, precision, record["dtype"])


def _kept(settings: Mapping[str, Any], left_out: Collection[str]) -> dict[str, Any]:
    """Settings by their full key; those of a method's options as floats, so 1 and 1.0 are one.

    Without None, so that a later optional setting changes no identity of runs without it.
    """
    return {
        key: float(value) if key.startswith("method.options.") and type(value) is int else value
        for key, value in flat(settings).items()
        if value is not None and key not in left_out and not key.startswith("method.lr.")
    }
