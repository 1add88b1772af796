"""What is part of a run's identity, on plain settings."""

import copy
import dataclasses
import json
from dataclasses import asdict

import pytest
import yaml

from bench.config import Experiment, read_experiment
from bench.data.problems import Problem, ProblemSets
from bench.errors import InputError
from bench.identity import (
    LEFT_OUT,
    PRETRAINING_LEFT_OUT,
    identity,
    identity_of_record,
    pretraining_identity,
)
from bench.pretraining.settings import read_pretraining
from tests.helpers import composed

HASHES = {"base": "b", "tests": "t", "train": "r"}
FLOAT32 = {"precision": "32-true", "dtype": "torch.float32"}
MIXED = FLOAT32 | {"precision": "bf16-mixed"}
BFLOAT16 = FLOAT32 | {"dtype": "torch.bfloat16"}
LOW = {"precision": "bf16-mixed", "dtype": "torch.bfloat16"}


@pytest.fixture(scope="module")
def base():
    """The settings of a method's default run, made once."""
    made = {}

    def settings(method="lora", curvature=1.0):
        if (method, curvature) not in made:
            words = (f"method={method}", f"curvature={curvature}")
            made[method, curvature] = asdict(read_experiment(composed(*words)))
        return made[method, curvature]

    return settings


def changed(settings, *changes):
    """Plain settings after changes, each `section.key=VALUE` in YAML."""
    settings = copy.deepcopy(settings)
    for change in changes:
        path, _, value = change.partition("=")
        *above, key = path.split(".")
        section = settings
        for part in above:
            section = section[part]
        section[key] = yaml.safe_load(value)
    return settings


def name(settings, *changes, precision="32-true", dtype="torch.float32", hashes=HASHES):
    return identity(changed(settings, *changes), hashes, precision, dtype)


@pytest.mark.parametrize(
    ("method", "curvature", "expected"),
    [
        ("lora", 1.0, "f40666099ef1"),
        ("hyplora", 1.0, "b9e9d1b188a7"),
        ("hyplora", 0.5, "f17856811450"),
        ("hyplora_boost", 1.0, "46c7a0c000b7"),
        ("hyplora_authors", 1.0, "e7bfe9de922c"),
        ("lora_matched", 2, "12bbe0d8fd7b"),
        ("none", 1.0, "7c928e3deb98"),
    ],
)
def test_the_default_runs_keep_their_identities(base, method, curvature, expected):
    """A changed default or RESULT_VERSION changes them, and makes all recorded runs stale."""
    assert name(base(method, curvature))[:12] == expected


# For each setting that is part of the identity another value.
OTHER = {
    "seed": 1, "method.name": "other", "method.module": "hyplora", "method.trained": False,
    "method.options.r": 8, "method.options.lora_alpha": 64, "method.options.lora_dropout": 0.5,
    "method.options.target_modules": ["q_proj"],
    "model.context": 512, "model.quantization": "int8", "model.trust_remote_code": True,
    "model.kernels": "liger",
    "train.lr": 0.1, "train.epochs": 1.0, "train.batch_size": 8, "train.train_on_inputs": True,
    "train.keep": "best", "train.weight_decay": 0.1, "train.warmup": 0.5, "train.decay": "constant",
    "train.gradient_clip": 9.0, "train.curvature_lr_factor": 9.0, "train.validations": 1,
    "train.validate_every": 7, "train.micro_batch_size": 3, "train.micro_tokens": 512,
    "train.devices": 2,
    "train.gradient_checkpointing": True, "train.compile": True, "evaluation.compile": True,
    "protocol.name": "other", "protocol.train_prompt": "{instruction}",
    "protocol.target": "{output}",
    "protocol.evaluation_prompt": "{instruction}", "protocol.max_length": 9,
    "protocol.max_new_tokens": 9, "protocol.tolerance": 9.0, "protocol.answer_form": "x",
    "protocol.letter_rule": "first", "protocol.choice_rule": "lower",
    "protocol.train_prompt_with_input": "{instruction}{input}",
    "protocol.evaluation_prompt_with_input": "{instruction}{input}",
    "protocol.choice_prompt": "{instruction}",
    "protocol.choice_prompt_with_input": "{instruction}{input}",
    "protocol.choice_max_new_tokens": 9, "protocol.strip": False, "protocol.cut_long_rows": True,
    "protocol.cut_rows_end": True, "protocol.answer_end": "x", "protocol.num_beams": 4,
    "protocol.template": "chat",
    "evaluation.split": "validation", "evaluation.lm_eval": ["arc_easy"],
    "evaluation.lm_eval_fewshot": 3, "evaluation.lm_eval_limit": 3, "evaluation.batch_size": 3,
    "evaluation.dtype": "float16", "evaluation.batching": "continuous",
}  # fmt: skip
# How work is split, which changes rounding where sums are not exact.
SPLIT = ("micro_batch_size", "micro_tokens", "devices", "gradient_checkpointing")


def leaves(settings, above=""):
    for key, value in settings.items():
        if isinstance(value, dict) and f"{above}{key}" != "method.lr":
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def test_each_setting_is_part_of_the_identity_or_left_out_for_a_reason(base):
    """A new key fails here until it is decided."""
    several_devices = {"train.sharded"}  # counts for these alone
    assert {*leaves(base())} == OTHER.keys() | LEFT_OUT.keys() | several_devices
    assert not OTHER.keys() & LEFT_OUT.keys() and all(LEFT_OUT.values())
    sections = {f.name for f in dataclasses.fields(Experiment)}
    # The first two are part of other sections, pruned and planned runs have no result.
    assert composed().keys() - sections == {"curvature", "size", "action", "plan", "trial"}


def with_tasks(settings, key, value):
    """The identity with a setting and with tasks of lm-eval, which make all keys count."""
    change = f"{key}={json.dumps(value)}"
    return name(settings, "evaluation.lm_eval=[boolq]", change, **LOW)


@pytest.mark.parametrize("key", OTHER)
def test_what_can_change_a_result_is_part_of_it(base, key):
    assert with_tasks(base(), key, OTHER[key]) != with_tasks(base(), "seed", 0)


@pytest.mark.parametrize("key", LEFT_OUT)
def test_what_can_not_change_a_result_is_no_part_of_it(base, key):
    value = "/saved" if key == "adapter" else "other"
    kept = with_tasks(base(), "seed", 0)
    if key == "adapter":  # then nothing is trained
        assert with_tasks(base(), key, value) == with_tasks(base(), key, "/elsewhere") != kept
    else:
        assert with_tasks(base(), key, value) == kept


@pytest.mark.parametrize("section", ["train", "evaluation"])
@pytest.mark.parametrize("numbers", [FLOAT32, BFLOAT16])
def test_compilation_counts_if_it_is_on(base, section, numbers):
    without = changed(base())
    assert without[section].pop("compile") is False  # as in records of before
    assert name(without, **numbers) == name(base(), **numbers)
    assert name(base(), f"{section}.compile=true", **numbers) != name(base(), **numbers)


def test_the_order_of_layers_and_of_tasks_does_not_count(base):
    for key in ("method.options.target_modules", "evaluation.lm_eval"):
        assert name(base(), f"{key}=[b, a]") == name(base(), f"{key}=[a, b, a]")
        assert name(base(), f"{key}=[a]") != name(base(), f"{key}=[a, b]")


def test_the_hashes_of_rows_know_where_each_set_ends():
    rows = [Problem("mawps", f"question {i}", "", "", "1") for i in range(4)]
    tests = {"mawps": rows[:2], "SVAMP": rows[2:]}
    first = ProblemSets(rows[:2], rows[2:], tests)
    moved = ProblemSets(rows[:3], rows[3:], {"mawps": rows[:3], "SVAMP": rows[3:]})
    reordered = ProblemSets(rows[:2], rows[2:], dict(reversed(tests.items())))
    assert first.train_hash != moved.train_hash and first.test_hash != moved.test_hash
    assert first.test_hash == reordered.test_hash
    swapped = ProblemSets([rows[1], rows[0]], rows[2:], tests)
    assert first.train_hash != swapped.train_hash  # the order of a training changes its result


@pytest.mark.parametrize(
    "resolved",
    [
        {"precision": "bf16-mixed"},
        {"dtype": "torch.bfloat16"},
        {"hashes": HASHES | {"train": "x"}},
    ],
)
def test_precision_dtype_and_contents_are_part_of_it(base, resolved):
    assert name(base(), **resolved) != name(base())


# What a setting depends on: what is given, another setting, the numbers, and whether it counts.
CONDITIONS = [
    *(("", f"train.{key}=3", FLOAT32, False) for key in SPLIT),
    # It clamps a gradient in each forward pass.
    ("method.options.variant=authors", "train.micro_batch_size=3", FLOAT32, True),
    ("", "train.micro_batch_size=3", MIXED, True),
    ("", "train.devices=3", MIXED, True),
    ("", "train.gradient_checkpointing=true", MIXED, True),
    ("", "train.sharded=true", MIXED, False),
    ("train.devices=2", "train.sharded=true", MIXED, True),
    ("train.micro_tokens=512", "train.micro_batch_size=3", MIXED, False),  # takes its place
    ("train.precision=32-true", "train.micro_batch_size=3", BFLOAT16, False),
    *(("", change, numbers, counts)
      for change in ("evaluation.batch_size=3", "evaluation.batching=continuous")
      for numbers, counts in ((FLOAT32, False), (MIXED, False), (BFLOAT16, True))),
    ("evaluation.dtype=float32", "evaluation.batch_size=3", BFLOAT16, False),
    ("protocol.num_beams=4", "evaluation.batching=continuous", BFLOAT16, False),
    ("", "train.precision=32-true", BFLOAT16, True),
    ("", "evaluation.dtype=float16", BFLOAT16, True),
    ("train.precision=32-true", "evaluation.dtype=float32", FLOAT32, False),
    ("", "evaluation.lm_eval_fewshot=3", FLOAT32, False),  # without tasks
    ("", "evaluation.lm_eval_limit=3", FLOAT32, False),
    *((given, f"train.{key}=2", FLOAT32, not given)
      for given in ("", "data.validation=0") for key in ("validations", "validate_every")),
    ("train.validate_every=2", "train.validations=3", FLOAT32, False),
    *((untrained, change, FLOAT32, False)
      for untrained in ("method.trained=false", "adapter=/saved")
      for change in ("seed=1", "train.lr=0.3", "data.train=[SVAMP]", "method.options.r=2",
                     "protocol.target='{output}'", "protocol.cut_long_rows=true")),
]  # fmt: skip


@pytest.mark.parametrize(("given", "change", "numbers", "counts"), CONDITIONS)
def test_a_setting_counts_where_it_has_an_effect(base, given, change, numbers, counts):
    given = given.split()
    assert (name(base(), *given, change, **numbers) != name(base(), *given, **numbers)) is counts


def test_a_curvature_counts_for_the_methods_that_have_one(base):
    for method, distinct in (("hyplora", 3), ("lora_matched", 3), ("lora", 1)):
        assert len({name(base(method, K)) for K in (0.1, 1, "auto")}) == distinct
    assert name(base("hyplora", 1)) == name(base("hyplora", 1.0))


def record_of(settings, precision="32-true", **more):
    train = settings["train"] | {"precision": precision}
    record = {"config": settings, "hashes": HASHES, "train": train, **more}
    return json.loads(json.dumps(record))


@pytest.mark.parametrize("numbers", [FLOAT32, MIXED, BFLOAT16])
def test_the_identity_of_a_record_is_that_of_its_run(base, numbers):
    record = record_of(base("hyplora", "auto"), numbers["precision"], dtype=numbers["dtype"])
    assert identity_of_record(record) == name(base("hyplora", "auto"), **numbers)


@pytest.fixture(scope="module")
def pretraining():
    return asdict(read_pretraining(composed("action=pretrain", "model=helm_d")))


ARCHITECTURE = {"hidden_size": 64, "transformers_version": "5"}


def pretrained(settings, *changes, precision="32-true", architecture=ARCHITECTURE):
    return pretraining_identity(changed(settings, *changes), architecture, HASHES, precision)


# For each setting that is part of the identity of a pretraining another value.
OTHER_PRETRAINING = {
    "seed": 1, "train.steps": 7, "train.step_tokens": 7, "train.row_tokens": 7, "train.lr": 9.0,
    "train.lr_floor": 0.5, "train.warmup": 0.5, "train.weight_decay": 9.0, "train.test": 0.1,
    "train.validation": 0.1, "evaluation.split": "validation",
    "train.gradient_clip": 9.0, "train.micro_rows": 1, "train.devices": 2,
}  # fmt: skip


def test_each_setting_of_a_pretraining_is_part_of_its_identity_or_left_out(pretraining):
    settings = pretraining | {"model": pretraining["model"] | {"choices": None}}
    # The first is part of the architecture; the second counts for several devices.
    decided = OTHER_PRETRAINING.keys() | {"model.choices", "train.sharded"}
    assert {*leaves(settings)} == decided | PRETRAINING_LEFT_OUT.keys()
    mixed = {"precision": "bf16-mixed"}
    plain = pretrained(pretraining, **mixed)
    for key, value in OTHER_PRETRAINING.items():
        assert pretrained(pretraining, f"{key}={value}", **mixed) != plain, key
    for key in PRETRAINING_LEFT_OUT:
        assert pretrained(pretraining, f"{key}=9", **mixed) == plain, key


def test_a_model_has_its_own_learning_rate_and_warm_up_by_size():
    def train(*overrides):
        return read_pretraining(composed("action=pretrain", "model=llama_twin", *overrides)).train

    rates = composed("action=pretrain", "model=llama_twin")["model"]
    assert (train().lr, train().warmup) == (rates["lr"]["tiny"], rates["warmup"]["tiny"])
    assert train("size=1b").lr == rates["lr"]["other"] == 4e-4
    given = train("action.lr=5e-3", "action.warmup=0.2")
    assert (given.lr, given.warmup) == (5e-3, 0.2)
    with pytest.raises(InputError, match=r"has no warmup: give action\.warmup"):
        train("~model.warmup")


def test_what_is_part_of_the_identity_of_a_pretraining(pretraining):
    split = ("train.micro_rows=1", "train.devices=2", "train.sharded=true")
    plain, mixed = pretrained(pretraining), pretrained(pretraining, precision="bf16-mixed")
    assert pretrained(pretraining, *split) == plain != mixed
    assert pretrained(pretraining, "train.sharded=true", precision="bf16-mixed") == mixed
    newer, wider = (ARCHITECTURE | {key: "9"} for key in ("transformers_version", "hidden_size"))
    assert pretrained(pretraining, architecture=newer) == plain
    assert pretrained(pretraining, architecture=wider) != plain


def test_the_identity_of_a_pretraining_record_is_that_of_its_run(pretraining):
    record = record_of(pretraining, kind="pretrain", model_config=ARCHITECTURE)
    assert identity_of_record(record) == pretrained(pretraining)
