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
from bench.training.optimizer import adamw, learning_rate_factor
from tests.helpers import composed

DATA = "data=math10k data.root=FOLDER"
ADAPTERS = f"protocol=llm_adapters train=llm_adapters model=llama-7b {DATA}"
HYPLORA = f"protocol=paper train=paper model=llama3-8b-instruct {DATA}"
QWEN = HYPLORA.replace("llama3-8b-instruct", "qwen2.5-7b-instruct-1m")
GEMMA3, GEMMA = (HYPLORA.replace("llama3-8b-instruct", m) for m in ("gemma3-4b-it", "gemma-7b"))
COMMONSENSE = "train=paper_commonsense data=commonsense170k"
ATTENTION_AND_MLP = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
HUB = "model=hub model.path=a/b model.published=Gemma3-4B"
QWEN_FOLDER = "model=local model.path=/models/q model.published=Qwen2.5-7B"


@cache
def run(command):
    return read_experiment(composed(*command.split()))


def value(experiment, key):
    section, name = key.split(".")
    found = getattr(experiment, section)
    return found.options[name] if section == "method" else getattr(found, name)


BOTH = {
    "train.train_on_inputs": True,
    "train.lr": 3e-4,
    "train.epochs": 3,
    "train.batch_size": 16,
    "train.micro_batch_size": 4,
    "train.warmup": 100,
    "train.decay": "linear",
    "train.weight_decay": 0.0,
    "train.gradient_clip": 1.0,
    "train.keep": "best",
    "data.validation": 120,
    "data.train": ["math_10k"],
    "protocol.max_length": 256,
    "protocol.cut_long_rows": True,
    "protocol.num_beams": 4,
    "protocol.tolerance": 0.001,
    "protocol.choice_max_new_tokens": 32,
    "protocol.keep_overlap": True,
    "method.r": 32,
    "method.lora_alpha": 64,
    "method.lora_dropout": 0.05,
    "method.target_modules": ATTENTION_AND_MLP,
}
OWN = [
    (ADAPTERS, "protocol.max_new_tokens", 256),
    (ADAPTERS, "protocol.letter_rule", "first"),
    (ADAPTERS, "protocol.choice_rule", "first"),
    (ADAPTERS, "protocol.cut_rows_end", False),
    (ADAPTERS, "protocol.answer_end", "### Response:"),
    (ADAPTERS, "train.validate_every", 80),
    (HYPLORA, "protocol.max_new_tokens", 512),
    (HYPLORA, "protocol.letter_rule", "paper"),
    (HYPLORA, "train.validate_every", 200),
    (HYPLORA, "protocol.choice_rule", "lower"),
    (QWEN, "protocol.choice_rule", "first"),
    (GEMMA, "protocol.choice_rule", "first"),
    *((f"train=paper protocol=paper model={model} {DATA}", "protocol.style", style)
      for model, style in (("llama3-8b", "llama3"), ("llama3-8b-instruct", "llama3"),
                           ("qwen2.5-7b", "chatml"), ("qwen2.5-7b-instruct-1m", "chatml"),
                           ("gemma-7b", "gemma"), ("gemma3-4b", "gemma"),
                           ("gemma3-4b-it", "gemma"))),
    (HYPLORA, "protocol.cut_rows_end", True),
    (QWEN, "protocol.cut_rows_end", False),
    (GEMMA, "protocol.cut_rows_end", False),
    *((f"{HYPLORA} {method}", "method.lora_alpha", alpha)
      for method, alpha in (("method=hyplora", 128), ("method=hyplora_authors", 128),
                            ("method=dora", 64), ("method=hyplora_authors_simplified", 256))),
    (f"{QWEN} method=hyplora", "method.lora_alpha", 128),
    (f"{GEMMA} method=hyplora", "method.lora_alpha", 128),
    (f"{GEMMA3} method=hyplora", "method.lora_alpha", 32),
    (f"{HYPLORA} {COMMONSENSE} method=hyplora", "method.lora_alpha", 128),
    (f"{QWEN} {COMMONSENSE} method=hyplora", "method.lora_alpha", 256),
    (f"{GEMMA3} {COMMONSENSE} method=hyplora", "method.lora_alpha", 32),
    (f"{GEMMA} {COMMONSENSE} method=hyplora", "method.lora_alpha", 128),
    (f"{QWEN} {COMMONSENSE}", "method.lora_alpha", 64),
    (f"{HYPLORA} {COMMONSENSE} method=hyplora_authors_simplified", "method.lora_alpha", 256),
    (f"{HYPLORA} method=hyplora", "method.target_modules", ATTENTION_AND_MLP),
    (f"{HYPLORA} method=hyplora_authors", "method.curvature", 1.0),
    *((f"train={preset} method={method} {base}", "method.lora_alpha", alpha)
      for preset, method, base, alpha in (
          ("paper", "hyplora", HUB, 32), ("llm_adapters", "hyplora", HUB, 64),
          ("paper_commonsense", "hyplora_authors", QWEN_FOLDER, 256),
          ("equal", "hyplora", HUB, 64), ("equal", "hyplora_authors_simplified", HUB, 64),
          ("default", "hyplora", HUB, 32),
          # Given options override a preset.
          ("paper method.lora_alpha=16", "hyplora", HUB, 16),
          ("equal train.adapter.lora_alpha=8", "hyplora", HUB, 8))),
    *((f"train={preset}", "train.validate_every", every)
      for preset, every in (("paper_commonsense", 80), ("equal", 200))),
    (f"{ADAPTERS} method=series", "method.bottleneck_size", 256),
    (f"{ADAPTERS} method=series", "method.non_linearity", "tanh"),
    (f"{ADAPTERS} method=series", "method.target_modules", ["gate_proj", "up_proj"]),
    ("method=series", "method.target_modules", ["gate_proj", "up_proj"]),
    ("train=paper_commonsense method=series", "method.target_modules", ["down_proj"]),
    ("train.adapter.series_modules=[down_proj] method=series", "method.target_modules",
     ["down_proj"]),
    (f"{ADAPTERS} method=parallel", "method.target_modules", ["up_proj", "down_proj"]),
    (f"{ADAPTERS} method=parallel", "method.bottleneck_size", 256),
    (f"{ADAPTERS} method=prefix", "method.num_virtual_tokens", 10),
    (f"{ADAPTERS} method=prefix", "train.batch_size", 8),
    (f"{ADAPTERS} method=prefix", "train.epochs", 5),
    (f"{ADAPTERS} method=prefix train.epochs=1", "train.epochs", 1),
    (f"{ADAPTERS} method=prefix", "train.lr", 3e-2),
    (f"{ADAPTERS} method=prefix", "train.validate_every", 10),
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "key", "published"),
    [(c, *fact) for c in (ADAPTERS, HYPLORA) for fact in BOTH.items()] + OWN,
)
def test_a_setting_is_the_published_one(command, key, published):
    assert value(run(command), key) == published


def test_the_optimiser_is_adamw_as_torch_and_the_trainer_set_it():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    (group,) = adamw([("weight", weight)], 3e-4, 0.0).param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0.0)


def test_the_rate_rises_over_100_steps_and_falls_to_0_on_a_line():
    factors = [learning_rate_factor(step, 1100, 100) for step in (99, 100, 600, 1100)]
    assert factors == [1.0, 1.0, 0.5, 0.0]


def test_a_warmup_of_at_least_1_is_a_number_of_steps():
    train = run("").train
    assert dataclasses.replace(train, warmup=0.1).warmup_steps(55) == 6
    assert dataclasses.replace(train, warmup=7).warmup_steps(55) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("train=paper method=hyplora", r"32 for Gemma3-4B, 128 for other.*a/b names none"),
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


@pytest.mark.parametrize("method", ["lora", "dora", "hyplora", "hyplora_authors", "prefix",
                                    "series", "parallel"])  # fmt: skip
@pytest.mark.parametrize("command", [f"{ADAPTERS} model.quantization=int8",
                                     f"{HYPLORA} model.dtype=float32"])  # fmt: skip
def test_the_comparison_finds_only_the_departures_that_have_a_reason(command, method):
    _, settings = compared(run(f"{command} method={method}"))
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
