"""The published training settings, as a run of each method and base has them."""

import dataclasses
import re

import pytest

import bench.config
from bench.errors import InputError

LLAMA = ("model=llama3-8b",)
GEMMA = ("model=gemma3-4b-it",)
QWEN = ("model=qwen2.5-7b-instruct-1m",)
HUB = ("model=hub", "model.path=a/b", "model.published=Gemma3-4B")
QWEN_FOLDER = ("model=local", "model.path=/models/q", "model.published=Qwen2.5-7B")


def alpha(experiment):
    return experiment.method.options["lora_alpha"]


@pytest.mark.parametrize(
    ("preset", "method", "base", "expected"),
    [
        ("paper", "lora", LLAMA, 64),
        ("paper", "dora", GEMMA, 64),
        ("paper", "hyplora", LLAMA, 128),
        ("paper", "hyplora", QWEN, 128),
        ("paper", "hyplora", GEMMA, 32),
        ("paper", "hyplora", HUB, 32),
        ("paper_commonsense", "hyplora_authors", QWEN_FOLDER, 256),
        ("llm_adapters", "hyplora", HUB, 64),
        ("paper", "hyplora_authors", LLAMA, 128),
        ("paper", "hyplora_authors_simplified", GEMMA, 256),
        ("paper_commonsense", "hyplora", QWEN, 256),
        ("paper_commonsense", "hyplora", LLAMA, 128),
        ("paper_commonsense", "hyplora", GEMMA, 32),
        ("equal", "hyplora", LLAMA, 64),
        ("equal", "hyplora", GEMMA, 64),
        ("equal", "hyplora_authors_simplified", QWEN, 64),
        ("equal", "lora", LLAMA, 64),
        ("llm_adapters", "lora", LLAMA, 64),
        ("llm_adapters", "hyplora", GEMMA, 64),
        ("default", "hyplora", LLAMA, 32),
    ],
)
def test_alpha_is_the_published_one_of_method_and_base(compose, preset, method, base, expected):
    assert alpha(compose(f"train={preset}", f"method={method}", *base)) == expected


@pytest.mark.parametrize(
    ("model", "style", "expected"),
    [
        ("llama3-8b", "llama3", 128),
        ("llama3-8b-instruct", "llama3", 128),
        ("qwen2.5-7b", "chatml", 128),
        ("qwen2.5-7b-instruct-1m", "chatml", 128),
        ("gemma-7b", "gemma", 128),
        ("gemma3-4b", "gemma", 32),
        ("gemma3-4b-it", "gemma", 32),
    ],
)
def test_a_base_of_the_paper_needs_its_name_alone(compose, model, style, expected):
    published = ("train=paper", "protocol=paper", "method=hyplora", f"model={model}")
    run = compose(*published, "data=math10k", "data.root=LLM-Adapters")
    assert (run.protocol.style, alpha(run)) == (style, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("train=paper", "method=hyplora"), r"32 for Gemma3-4B, 128 for other.*a/b names none"),
        (("train=paper", "method=hyplora", "model.published=LLaMA3-8B"), None),
        (("train=paper", "method=hyplora", "method.lora_alpha=16"), None),
        (("train=paper", "method=hyplora_authors_simplified"), "give curvature=0.5"),
        (("train=paper", "method=hyplora_authors_simplified", "curvature=0.5"), None),
        (("train=paper_commonsense", "method=hyplora_authors_simplified"), None),
        (("train=equal", "method=hyplora_authors_simplified"), None),
    ],
)
def test_an_alpha_of_another_base_or_curvature_is_warned_of(compose, caplog, settings, message):
    bench.config._warn.cache_clear()
    compose("model=hub", "model.path=a/b", *settings)
    assert bool(message) == bool(caplog.text)
    assert not message or re.search(message, caplog.text)


def test_the_old_bases_are_sent_to_their_protocol(compose):
    with pytest.raises(InputError, match="train=llm_adapters protocol=llm_adapters"):
        compose("model=llama-7b", "protocol=paper")


def test_an_option_of_a_run_overrides_the_preset(compose):
    given = compose("train=paper", "method=hyplora", "method.lora_alpha=16", "method.r=4", *GEMMA)
    assert alpha(given) == 16 and given.method.options["r"] == 4
    assert alpha(compose("train=equal", "train.adapter.lora_alpha=8", "method=hyplora")) == 8


@pytest.mark.parametrize(
    ("preset", "every"),
    [("llm_adapters", 80), ("paper", 200), ("paper_commonsense", 80), ("equal", 200)],
)
def test_the_published_settings_are_shared_by_all_presets(compose, preset, every):
    run = compose(f"train={preset}", "method=lora")
    t = run.train
    assert (t.lr, t.epochs, t.batch_size, t.micro_batch_size) == (3e-4, 3, 16, 4)
    assert (t.warmup_steps(1800), t.decay, t.train_on_inputs) == (100, "linear", True)
    assert (t.keep, t.validate_every) == ("best", every)
    assert (run.method.options["r"], run.method.options["lora_dropout"]) == (32, 0.05)


def test_prefix_tuning_and_bottlenecks_have_settings_of_their_own(compose):
    run = compose("train=llm_adapters", "method=prefix")
    t = run.train
    assert (t.lr, t.epochs, t.batch_size, t.validate_every) == (3e-2, 5, 8, 10)
    assert run.method.options["num_virtual_tokens"] == 10
    assert compose("train=llm_adapters", "method=prefix", "train.epochs=1").train.epochs == 1
    for method in ("series", "parallel"):
        run = compose("train=llm_adapters", f"method={method}")
        assert run.method.options["bottleneck_size"] == 256


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("train=default", ["gate_proj", "up_proj"]),
        ("train=llm_adapters", ["gate_proj", "up_proj"]),
        ("train=paper_commonsense", ["down_proj"]),
        ("train.adapter.series_modules=[down_proj]", ["down_proj"]),
    ],
)
def test_series_adapters_have_the_published_layers(compose, settings, expected):
    assert compose(settings, "method=series").method.options["target_modules"] == expected


def test_a_warmup_of_at_least_1_is_a_number_of_steps(compose):
    train = compose().train
    assert dataclasses.replace(train, warmup=0.1).warmup_steps(55) == 6
    assert dataclasses.replace(train, warmup=7).warmup_steps(55) == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.warmup=1.5", "below 1, or a whole number of steps"),
        ("train.warmup=-1", "below 1, or a whole number of steps"),
        ("train.validate_every=0", "train.validate_every must be at least 1"),
        ("train.keep=bset", "Did you mean best"),
        ("train.keep=best train.validations=0", r"give train\.validate_every=80"),
        ("train.keep=best data.validation=0", r"give data\.validation=120"),
    ],
)
def test_a_setting_out_of_range_is_refused(compose, override, message):
    with pytest.raises(InputError, match=message):
        compose(*override.split())
