"""What the code behind the published tables does, and that a run with its settings does the same.

The facts are those of LLM-Adapters (commit 8166572) and HypLoRA (commit 4e91948).
"""

import dataclasses
import re
from functools import cache

import pytest
import torch

from bench.actions import run_action
from bench.config import read_experiment
from bench.errors import InputError, warn_once
from bench.protocol import compared
from bench.tasks.task import CHOICES
from bench.training.optimizer import adamw
from tests.helpers import composed

DATA = "data=math10k data.root=FOLDER"
ADAPTERS = f"protocol=llm_adapters train=llm_adapters model=llama-7b {DATA}"
HYPLORA = f"protocol=paper train=paper model=llama3-8b-instruct {DATA}"
COMMONSENSE = "train=paper_commonsense data=commonsense170k"
HUB = "model=hub model.path=a/b model.published=Gemma3-4B"
QWEN_FOLDER = "model=local model.path=/models/q model.published=Qwen2.5-7B"


@cache
def run(command):
    return read_experiment(composed(*command.split()))


def value(experiment, key):
    section, name = key.split(".")
    found = getattr(experiment, section)
    return found.options[name] if section == "method" else getattr(found, name)


@pytest.mark.parametrize(
    ("command", "key", "expected"),
    [
        (ADAPTERS, "protocol.answer_end", "### Response:"),
        (ADAPTERS, "train.micro_batch_size", 4),
        (HYPLORA, "train.micro_batch_size", 4),
        (f"{ADAPTERS} method=prefix train.epochs=1", "train.epochs", 1),
        ("method=series", "method.target_modules", ["gate_proj", "up_proj"]),
        (f"train=paper method=hyplora {HUB}", "method.lora_alpha", 32),
        (f"train=llm_adapters method=hyplora {HUB}", "method.lora_alpha", 64),
        (f"train=paper_commonsense method=hyplora_authors {QWEN_FOLDER}", "method.lora_alpha", 256),
        (f"train=equal method=hyplora {HUB}", "method.lora_alpha", 64),
        (f"train=equal method=hyplora_authors_simplified {HUB}", "method.lora_alpha", 64),
        (f"train=default method=hyplora {HUB}", "method.lora_alpha", 32),
        # Given options override a preset.
        (f"train=paper method.lora_alpha=16 method=hyplora {HUB}", "method.lora_alpha", 16),
        (f"train=equal train.adapter.lora_alpha=8 method=hyplora {HUB}", "method.lora_alpha", 8),
        ("train.adapter.series_modules=[down_proj] method=series", "method.target_modules",
         ["down_proj"]),
        ("train=equal", "train.validate_every", 200),
    ],
)  # fmt: skip
def test_a_preset_sets_what_is_not_given(command, key, expected):
    assert value(run(command), key) == expected


def test_the_optimiser_is_adamw_as_torch_and_the_trainer_set_it():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    (group,) = adamw([("weight", weight)], 3e-4, 0.0).param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0.0)


def test_a_warmup_of_at_least_1_is_a_number_of_steps():
    train = run("").train
    assert dataclasses.replace(train, warmup=0.1).warmup_steps(55) == 6
    assert dataclasses.replace(train, warmup=7).warmup_steps(55) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "train=paper method=hyplora",
            r"32 for Gemma3-4B, 128 for other.*published name of a/b is unknown",
        ),
        ("train=paper method=hyplora model.published=LLaMA3-8B", None),
        ("train=paper method=hyplora method.lora_alpha=16", None),
        ("train=paper method=hyplora_authors_simplified", "give curvature=0.5"),
        ("train=paper method=hyplora_authors_simplified curvature=0.5", None),
        ("train=paper_commonsense method=hyplora_authors_simplified", None),
        ("train=equal method=hyplora_authors_simplified", None),
    ],
)
def test_an_alpha_of_another_base_or_curvature_is_warned_of(caplog, settings, message):
    warn_once.cache_clear()
    run.__wrapped__(f"model=hub model.path=a/b {settings}")
    assert bool(message) == bool(caplog.text)
    assert not message or re.search(message, caplog.text)


def test_the_old_bases_are_sent_to_their_protocol():
    with pytest.raises(InputError, match="train=llm_adapters protocol=llm_adapters"):
        run("model=llama-7b protocol=paper")


def test_the_words_of_choices_are_the_published_ones():
    counts = {"answer": 5, "ending": 4, "option": 2, "solution": 2}
    numbered = [tuple(f"{word}{i + 1}" for i in range(n)) for word, n in counts.items()]
    assert sorted(CHOICES) == sorted([("true", "false"), *numbered])


METHODS = ("lora", "dora", "hyplora", "hyplora_authors", "prefix", "series", "parallel")
BASES = ("llama3-8b", "qwen2.5-7b", "qwen2.5-7b-instruct-1m", "gemma-7b", "gemma3-4b",
         "gemma3-4b-it")  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        *(f"{ADAPTERS} model.quantization=int8 method={method}" for method in METHODS),
        *(f"{HYPLORA} model.dtype=float32 method={method}" for method in METHODS),
        f"{HYPLORA} model.dtype=float32 method=hyplora_authors_simplified curvature=0.5",
        *(f"{HYPLORA} model.dtype=float32 method=hyplora model={base}" for base in BASES),
        *(f"{HYPLORA} {COMMONSENSE} model.dtype=float32 method=hyplora_authors model={base}"
          for base in BASES),
        *(f"{HYPLORA} {COMMONSENSE} model.dtype=float32 method={method}"
          for method in ("lora", "series", "hyplora_authors_simplified")),
    ],
)  # fmt: skip
def test_the_comparison_finds_only_the_departures_that_have_a_reason(command):
    _, settings = compared(run(command))
    # hyplora has the exact map; LLM-Adapters has no HypLoRA.
    kept = {"rate of the first step", "order of rows and dropout", "precision",
            "attention mask of choices", "curvature K"}  # fmt: skip
    assert {setting.name for setting in settings if not setting.same} <= kept


def test_the_comparison_says_what_to_type():
    source, settings = compared(run("method=series"), "llm_adapters")
    notes = {setting.name: setting.note for setting in settings}
    assert source.startswith("LLM-Adapters") and notes["prompts"] == "give protocol=llm_adapters"
    assert notes["beams"] == "give protocol.num_beams=4" and notes["tolerance of numbers"] == ""
    assert notes["training set"] == "give data.train=[math_10k]"


@pytest.mark.parametrize(
    ("train", "note"),
    [("paper_commonsense", ""), ("llm_adapters", "give method.target_modules=[down_proj]")],
)
def test_published_targets_of_series_adapters_depend_on_the_data(train, note):
    data = f"data=commonsense170k train={train}"
    command = f"{ADAPTERS} {data} method=series data.root=FOLDER"
    notes = {setting.name: setting.note for setting in compared(run(command))[1]}
    assert notes["target modules"] == note


def test_an_unknown_code_is_refused():
    with pytest.raises(InputError, match=r"action.code.*llm_adapters"):
        compared(run("method=lora"), "llm-adapters")


def test_the_action_shows_the_comparison_and_runs_nothing(capsys):
    found = run_action(composed("action=protocol", *ADAPTERS.split()))
    assert found["summary"].endswith("settings as in LLM-Adapters, commit 8166572")
    assert "model.quantization=int8" in capsys.readouterr().out
