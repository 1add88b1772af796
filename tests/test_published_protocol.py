"""What the code behind the published tables does, and that a run with its settings does the same.

The facts are those of LLM-Adapters (commit 8166572) and HypLoRA (commit 4e91948).
"""

from functools import cache

import pytest
import torch

from bench.actions import run_action
from bench.config import PROJECT, read_experiment
from bench.data.known_files import SAME, compare
from bench.data.problems import Problem
from bench.data.prompts import evaluation_text, new_tokens, training_text
from bench.errors import InputError
from bench.evaluation.answers import agrees, extract_choice, extract_letter, extract_number
from bench.protocol import compared
from bench.tasks.task import CHOICES
from bench.training.optimizer import adamw, learning_rate_factor

DATA = "data=math10k data.root=FOLDER"
ADAPTERS = f"protocol=llm_adapters train=llm_adapters model=llama-7b {DATA}"
HYPLORA = f"protocol=paper train=paper model=llama3-8b-instruct {DATA}"
QWEN = HYPLORA.replace("llama3-8b-instruct", "qwen2.5-7b-instruct-1m")
GEMMA3, GEMMA = (HYPLORA.replace("llama3-8b-instruct", m) for m in ("gemma3-4b-it", "gemma-7b"))
COMMONSENSE = "train=paper_commonsense data=commonsense170k"
ATTENTION_AND_MLP = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
SUM, CHOICE = (Problem(*row) for row in (("mawps", "1+1?", "", "2", "2"),
                                         ("boolq", "Is it?", "", "true", "true")))  # fmt: skip


def composed(command):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        config = compose("config", command.split())
    return OmegaConf.to_container(config, resolve=True)


@cache
def run(command):
    return read_experiment(composed(command))


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
    (f"{ADAPTERS} method=series", "method.bottleneck_size", 256),
    (f"{ADAPTERS} method=series", "method.non_linearity", "tanh"),
    (f"{ADAPTERS} method=series", "method.target_modules", ["gate_proj", "up_proj"]),
    (f"{ADAPTERS} method=parallel", "method.target_modules", ["up_proj", "down_proj"]),
    (f"{ADAPTERS} method=parallel", "method.bottleneck_size", 256),
    (f"{ADAPTERS} method=prefix", "method.num_virtual_tokens", 10),
    (f"{ADAPTERS} method=prefix", "train.batch_size", 8),
    (f"{ADAPTERS} method=prefix", "train.epochs", 5),
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


@pytest.mark.parametrize(
    ("name", "digits"),
    {
        "AQuA": "de677f5f01393400",
        "mawps": "c1a708979cbf2b3d",
        "SVAMP": "ffed015784f738f3",
        "gsm8k": "2cc616a1e0b23ea1",
        "boolq": "89df2397cbca81dc",
        "piqa": "3860d11b9b42e590",
        "social_i_qa": "71543f4112745194",
        "winogrande": "6946f5209e7114c6",
        "ARC-Challenge": "4a89ce368ae01a71",
        "ARC-Easy": "3f32a84716ca6d57",
        "openbookqa": "8479930f7b8a2605",
    }.items(),
)
def test_the_test_files_are_pinned(name, digits):
    file = f"dataset/{name}/test.json"
    assert compare({file: digits + 48 * "0"}) == {file: SAME}


@pytest.mark.parametrize("command", [ADAPTERS, HYPLORA, QWEN])
def test_choices_have_32_new_tokens_and_numbers_the_protocols(command):
    protocol = run(command).protocol
    assert new_tokens(CHOICE, protocol) == 32
    assert new_tokens(SUM, protocol) == protocol.max_new_tokens


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10-7=3", 3),
        ("10-7", -7),
        ("1/2", 2),
        ("1,008", 1008),
        ("5 apples in 2024", 2024),
        ("none", None),
    ],
)
def test_the_last_number_counts_without_commas(text, number):
    assert extract_number(text) == number


@pytest.mark.parametrize("command", [ADAPTERS, HYPLORA])
def test_a_number_may_be_off_by_a_thousandth(command):
    protocol = run(command).protocol
    assert agrees(1.8341, "1.8333333333333335", "number", protocol)
    assert not agrees(1.8344, "1.8333333333333335", "number", protocol)


@pytest.mark.parametrize(
    ("rule", "text", "letter"),
    [
        ("first", "Answer: (C)", "A"),
        ("paper", "(A) or (B). The correct answer is C", "B"),
        ("paper", "The Correct answer is C", "C"),
        ("released", r"(A), so \boxed{\text{C}} and \boxed{B}", "C"),
        ("released", r"\boxed{(C)} (A)", "C"),
        ("released", "(A), not C), answer is B", "C"),
        ("released", "the correct answer is: D", "D"),
        ("released", "it is E.", "E"),
        ("released", "Option B holds", "B"),
        ("released", "no letter", None),
    ],
)
def test_a_letter_is_read_by_the_published_rule(rule, text, letter):
    assert extract_letter(text, rule) == letter


@pytest.mark.parametrize(
    ("task", "rule", "text", "choice"),
    [
        ("boolq", "first", "True, true or false", "true"),
        ("boolq", "lower", "False, not true", "false"),
        ("piqa", "first", "solution2, solution1", "solution2"),
        ("ARC-Easy", "first", "answer5", "answer5"),
        ("hellaswag", "first", "ending4", "ending4"),
        ("winogrande", "first", "Option1", None),
    ],
)
def test_the_first_choice_counts(task, rule, text, choice):
    assert extract_choice(text, task, rule) == choice


def test_the_words_of_choices_are_the_published_ones():
    counts = {"answer": 5, "ending": 4, "option": 2, "solution": 2}
    numbered = [tuple(f"{word}{i + 1}" for i in range(n)) for word, n in counts.items()]
    assert sorted(CHOICES) == sorted([("true", "false"), *numbered])


def test_evaluation_has_other_white_space_than_training_in_llm_adapters():
    protocol = run(ADAPTERS).protocol
    trained, asked = training_text(SUM, protocol)[0], evaluation_text(SUM, protocol)
    assert "request.  \n" in trained and "request. \n" in asked
    assert f"\n{16 * ' '}\n" in trained and f"\n{16 * ' '}\n" not in asked
    assert asked.endswith(f"### Response:\n{16 * ' '}")


def test_gemma_alone_is_trained_on_another_prompt_than_it_is_asked():
    differ = {
        command: training_text(SUM, run(command).protocol)[0]
        != evaluation_text(SUM, run(command).protocol)
        for command in (HYPLORA, QWEN, GEMMA, GEMMA3)
    }
    assert differ == {HYPLORA: False, QWEN: False, GEMMA: True, GEMMA3: True}


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
    found = run_action(composed(f"action=protocol {ADAPTERS}"))
    assert found["summary"].endswith("settings as in LLM-Adapters, commit 8166572")
    assert "model.quantization=int8" in capsys.readouterr().out
