"""What is part of a run's identity, on plain settings."""

import copy
import json
from dataclasses import asdict

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench.config import PROJECT, read_experiment
from bench.identity import identity, identity_of_record, pretraining_identity
from bench.pretraining.settings import read_pretraining

HASHES = {"base": "b", "tests": "t", "train": "r"}
FLOAT32, MIXED = ("32-true", "torch.float32"), ("bf16-mixed", "torch.float32")
BFLOAT16 = ("32-true", "torch.bfloat16")


def composed(*overrides):
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        return OmegaConf.to_container(compose("config", list(overrides)), resolve=True)


@pytest.fixture(scope="module")
def base():
    """The settings of a method's default run, made once."""
    made = {}

    def settings(method="lora", curvature=1.0):
        if (method, curvature) not in made:
            words = (f"method={method}", f"curvature={curvature}")
            made[method, curvature] = asdict(read_experiment(composed(*words)))
        return copy.deepcopy(made[method, curvature])

    return settings


def name(settings, precision="32-true", dtype="torch.float32", hashes=HASHES, **changes):
    """The identity after changes, each `section__key=value`."""
    for path, value in changes.items():
        section = settings
        *above, key = path.split("__")
        for part in above:
            section = section[part]
        section[key] = value
    return identity(settings, hashes, precision, dtype)


@pytest.mark.parametrize(
    ("method", "curvature", "expected"),
    [
        ("lora", 1.0, "7bbedbf9be6936f2baab19081fa445f0a03e0e55b941e16f7d6fdcabddc6fb3c"),
        ("hyplora", 1.0, "fa78261be29eaff5ddbe3ee1dea75faa6e4493b836a4ffc57e76bb1b52d45b0d"),
        ("hyplora", 0.5, "ec95373ad2752abae428da4e388dca062d92e4d63788a8f73cfbf73af2f47610"),
        ("hyplora_boost", 1.0, "9f83fbbf1abd5d06328a93a2694fd80bd07f7b2c9ab3f038f11cf5ba1036dabe"),
        (
            "hyplora_authors",
            1.0,
            "4f00fb69b060e14f1b680b1a0d0d57ae7c0779aa2359d65455c04d521cd7e32b",
        ),
        ("lora_matched", 2, "799ee90e3d3e1a0a712424a53fb69df746e4553c0f1f6ded68a4ffaba863a0e2"),
        ("none", 1.0, "e1536e71fc900b1fa08571302b49363f114900e612d54948a17b0b1e79ab8ce5"),
    ],
)
def test_the_default_runs_keep_their_identities(base, method, curvature, expected):
    """A changed default or RESULT_VERSION changes them, and makes all recorded runs stale."""
    assert name(base(method, curvature)) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"train__micro_batch_size": 4},
        {"train__devices": 2},
        {"train__gradient_checkpointing": True},
        {"train__checkpoint_minutes": 9.0},
        {"train__validations": 1},
        {"train__validate_every": 7},
        {"evaluation__batch_size": 3},
        {"data__root": "/elsewhere"},
        {"data__keep_overlap": True},
        {"force": True},
        {"tracking__experiment": "other"},
        {"model__trust_remote_code": True},
        {"model__published": "LLaMA3-8B"},
        {"model__name": "other"},
        {"method__lr": {}},
        {"method__options__lora_alpha": 32.0},  # 32
        {"protocol__keep_overlap": True},
        {"protocol__style": "a"},
    ],
)
def test_what_can_not_change_a_result_is_no_part_of_it(base, changes):
    assert name(base(), **changes) == name(base())


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"method__name": "other"},
        {"method__module": "hyplora"},
        {"method__options__r": 8},
        {"model__context": 512},
        {"model__quantization": "int8"},
        {"train__lr": 0.1},
        {"train__epochs": 1.0},
        {"train__batch_size": 8},
        {"train__train_on_inputs": True},
        {"train__keep": "best"},
        {"protocol__max_new_tokens": 9},
        {"protocol__choice_rule": "lower"},
        {"protocol__target": "{output}"},
        {"protocol__strip": False},
        {"protocol__num_beams": 4},
        {"protocol__choice_max_new_tokens": 9},
        {"evaluation__split": "validation"},
        {"evaluation__lm_eval": ["arc_easy"]},
        {"precision": "bf16-mixed"},
        {"dtype": "torch.bfloat16"},
        {"hashes": HASHES | {"train": "x"}},
    ],
)
def test_what_can_change_a_result_is_part_of_it(base, changes):
    assert name(base(), **changes) != name(base())


@pytest.mark.parametrize(
    ("key", "numbers", "counts"),
    [
        ("evaluation__batch_size", BFLOAT16, True),
        ("evaluation__batch_size", MIXED, False),
        ("train__micro_batch_size", MIXED, True),
        ("train__devices", MIXED, True),
        ("train__devices", FLOAT32, False),
    ],
)
def test_how_work_is_split_counts_where_rounding_depends_on_it(base, key, numbers, counts):
    assert (name(base(), *numbers, **{key: 3}) != name(base(), *numbers)) is counts


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"validations": 5}, {"validations": 2}, False),
        ({"validations": 5}, {"validations": 5, "validate_every": 2}, False),
        ({"validations": 5, "validate_every": 2}, {"validations": 2, "validate_every": 2}, True),
    ],
)
def test_validations_count_where_the_best_adapter_is_kept(base, one, other, same):
    first, second = (
        name(base(), train__keep="best", **{f"train__{k}": v for k, v in changes.items()})
        for changes in (one, other)
    )
    assert (first == second) is same


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"train__lr": 0.3},
        {"data__train": ["SVAMP"]},
        {"method__options__r": 2},
        {"protocol__target": "{output}"},
        {"protocol__cut_long_rows": True},
    ],
)
@pytest.mark.parametrize("untrained", [{"method__trained": False}, {"adapter": "/saved"}])
def test_an_untrained_run_does_not_depend_on_training(base, untrained, changes):
    assert name(base(), **untrained, **changes) == name(base(), **untrained)


def test_a_curvature_counts_for_the_methods_that_have_one(base):
    for method, distinct in (("hyplora", 4), ("lora_matched", 4), ("lora", 1), ("none", 1)):
        assert len({name(base(method, K)) for K in (0.1, 1, 2, "auto")}) == distinct
    assert name(base("hyplora", 1)) == name(base("hyplora", 1.0))


def record_of(settings, precision, **more):
    train = settings["train"] | {"precision": precision}
    record = {"config": settings, "hashes": HASHES, "train": train, **more}
    return json.loads(json.dumps(record))


@pytest.mark.parametrize("numbers", [FLOAT32, MIXED, BFLOAT16])
def test_the_identity_of_a_record_is_that_of_its_run(base, numbers):
    record = record_of(base("hyplora", "auto"), numbers[0], dtype=numbers[1])
    assert identity_of_record(record) == name(base("hyplora", "auto"), *numbers)


@pytest.fixture(scope="module")
def pretraining():
    return asdict(read_pretraining(composed("action=pretrain", "model=helm_d")))


ARCHITECTURE = {"hidden_size": 64, "transformers_version": "5"}


def pretrained(settings, precision="32-true", architecture=ARCHITECTURE, **train):
    settings = settings | {"train": settings["train"] | train}
    return pretraining_identity(settings, architecture, HASHES, precision)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"checkpoint_minutes": 9.0}, True),
        ({"evaluations": 1}, True),
        ({"micro_rows": 1}, True),
        ({"devices": 2, "sharded": True}, True),
        ({"architecture": ARCHITECTURE | {"transformers_version": "6"}}, True),
        ({"architecture": ARCHITECTURE | {"hidden_size": 65}}, False),
        ({"steps": 7}, False),
        ({"held_out": 0.1}, False),
        ({"precision": "bf16-mixed"}, False),
    ],
)
def test_the_identity_of_a_pretraining(pretraining, changes, same):
    assert (pretrained(pretraining, **changes) == pretrained(pretraining)) is same
    assert pretrained(pretraining | {"seed": 1}) != pretrained(pretraining)


def test_rounding_counts_in_a_mixed_pretraining(pretraining):
    mixed = pretrained(pretraining, "bf16-mixed")
    assert pretrained(pretraining, "bf16-mixed", micro_rows=1) != mixed
    assert pretrained(pretraining, "bf16-mixed", devices=2) != mixed
    assert pretrained(pretraining, "bf16-mixed", sharded=True) == mixed


def test_the_identity_of_a_pretraining_record_is_that_of_its_run(pretraining):
    record = record_of(pretraining, "32-true", kind="pretrain", model_config=ARCHITECTURE)
    assert identity_of_record(record) == pretrained(pretraining)
