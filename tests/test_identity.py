"""What is part of a run's identity, on plain settings."""

import copy
import json
from dataclasses import asdict

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench.config import PROJECT, read_experiment
from bench.identity import identity, identity_of_record, pretraining_identity
from bench.pretraining.settings import read_pretraining

HASHES = {"base": "b", "tests": "t", "train": "r"}
FLOAT32 = {"precision": "32-true", "dtype": "torch.float32"}
MIXED = FLOAT32 | {"precision": "bf16-mixed"}
BFLOAT16 = FLOAT32 | {"dtype": "torch.bfloat16"}


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


IN_NO_IDENTITY = """
    train.micro_batch_size=4 train.devices=2 train.sharded=true
    train.gradient_checkpointing=true
    train.checkpoint_minutes=9 train.validations=1 train.validate_every=7
    evaluation.batch_size=3 data.root=/elsewhere data.keep_overlap=true force=true
    tracking.experiment=other model.trust_remote_code=true model.published=LLaMA3-8B
    model.name=other method.lr={} method.options.lora_alpha=32.0
    protocol.keep_overlap=true protocol.style=a
"""
IN_EACH_IDENTITY = """
    seed=1 method.name=other method.module=hyplora method.options.r=8
    model.context=512 model.quantization=int8
    train.lr=0.1 train.epochs=1.0 train.batch_size=8 train.train_on_inputs=true train.keep=best
    protocol.max_new_tokens=9 protocol.choice_rule=lower protocol.target='{output}'
    protocol.strip=false protocol.num_beams=4 protocol.choice_max_new_tokens=9
    evaluation.split=validation evaluation.lm_eval=[arc_easy]
"""
OF_TRAINING = """
    seed=1 train.lr=0.3 data.train=[SVAMP] method.options.r=2 protocol.target='{output}'
    protocol.cut_long_rows=true
"""


@pytest.mark.parametrize("change", IN_NO_IDENTITY.split())
def test_what_can_not_change_a_result_is_no_part_of_it(base, change):
    assert name(base(), change) == name(base())


@pytest.mark.parametrize("change", IN_EACH_IDENTITY.split())
def test_what_can_change_a_result_is_part_of_it(base, change):
    assert name(base(), change) != name(base())


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


def test_dtypes_of_training_and_evaluation_are_part_of_it_if_they_are_others(base):
    given = name(base(), **BFLOAT16)
    for change in ("train.precision=32-true", "evaluation.dtype=float16"):
        assert name(base(), change, **BFLOAT16) != given
    assert name(base(), "train.precision=32-true", "evaluation.dtype=float32") == name(base())
    upcast = ("train.precision=32-true", "evaluation.dtype=float32")
    for change in ("train.micro_batch_size=3", "evaluation.batch_size=3"):
        assert name(base(), *upcast, change, **BFLOAT16) == name(base(), *upcast, **BFLOAT16)


@pytest.mark.parametrize("change", OF_TRAINING.split())
@pytest.mark.parametrize("untrained", ["method.trained=false", "adapter=/saved"])
def test_an_untrained_run_does_not_depend_on_training(base, untrained, change):
    assert name(base(), untrained, change) == name(base(), untrained)


@pytest.mark.parametrize(
    ("change", "numbers", "counts"),
    [
        ("evaluation.batch_size=3", BFLOAT16, True),
        ("evaluation.batch_size=3", MIXED, False),
        ("train.micro_batch_size=3", MIXED, True),
        ("train.devices=3", MIXED, True),
        ("train.gradient_checkpointing=true", MIXED, True),
    ],
)
def test_how_work_is_split_counts_where_rounding_depends_on_it(base, change, numbers, counts):
    assert (name(base(), change, **numbers) != name(base(), **numbers)) is counts


def test_validations_count_where_the_best_adapter_is_kept(base):
    best = "train.keep=best"
    by_share = {name(base(), best, f"train.validations={n}") for n in (2, 5)}
    by_steps = {
        name(base(), best, "train.validate_every=2", f"train.validations={n}") for n in (2, 5)
    }
    assert len(by_share) == 2 and len(by_steps) == 1 and not by_share & by_steps


def test_a_curvature_counts_for_the_methods_that_have_one(base):
    for method, distinct in (("hyplora", 4), ("lora_matched", 4), ("lora", 1), ("none", 1)):
        assert len({name(base(method, K)) for K in (0.1, 1, 2, "auto")}) == distinct
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


def test_what_is_part_of_the_identity_of_a_pretraining(pretraining):
    same = ("train.checkpoint_minutes=9", "train.evaluations=1", "model.name=other", "force=true")
    split = ("train.micro_rows=1", "train.devices=2")
    other = ("train.steps=7", "train.held_out=0.1", "seed=1", *split)
    plain, mixed = pretrained(pretraining), pretrained(pretraining, precision="bf16-mixed")
    assert pretrained(pretraining, *same, *split, "train.sharded=true") == plain != mixed
    assert pretrained(pretraining, "train.sharded=true", precision="bf16-mixed") == mixed
    for change in other:
        assert pretrained(pretraining, change, precision="bf16-mixed") != mixed
    newer, wider = (ARCHITECTURE | {key: "9"} for key in ("transformers_version", "hidden_size"))
    assert pretrained(pretraining, architecture=newer) == plain
    assert pretrained(pretraining, architecture=wider) != plain


def test_the_identity_of_a_pretraining_record_is_that_of_its_run(pretraining):
    record = record_of(pretraining, kind="pretrain", model_config=ARCHITECTURE)
    assert identity_of_record(record) == pretrained(pretraining)
