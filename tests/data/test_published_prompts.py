"""The prompts of the published protocols, byte for byte."""

import dataclasses

import pytest
import yaml

from bench.config import PROJECT
from bench.data.batches import IGNORED, encode_training
from bench.data.problems import Problem
from bench.data.prompts import Protocol, evaluation_text, in_style, new_tokens, training_text
from bench.errors import InputError

CONF = PROJECT / "conf" / "protocol"
SUM = Problem("mawps", "What is 1+1?", "", "1+1=2", "2")
SUM_WITH_INPUT = dataclasses.replace(SUM, input="Use {instruction}.")
CHOICE = Problem("boolq", "Is it?", "", "true", "true")
UNKNOWN_CHOICE = dataclasses.replace(CHOICE, task="a set without a file", answer="ending2")
ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)
S = " " * 16
SYSTEM = "<|system|>\nYou are a helpful assistant.\n<|end_of_turn|>\n"
CHATML = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
LLAMA3 = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n" + ALPACA + "\n\n"
LLAMA3_END = "### Response:\n<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"


@pytest.fixture(scope="module")
def protocol():
    def read(name, style=None):
        keys = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        return Protocol(**in_style(keys, style))

    return read


def test_prompts_of_llm_adapters(protocol):
    p, given = protocol("llm_adapters"), "Use {instruction}."
    assert training_text(SUM, p) == (
        f"{ALPACA}  \n\n{S}### Instruction:\n{S}What is 1+1?\n{S}\n{S}### Response:\n{S}",
        "1+1=2",
    )
    assert evaluation_text(SUM, p) == (
        f"{ALPACA} \n\n{S}### Instruction:\n{S}What is 1+1?\n\n{S}### Response:\n{S}"
    )
    assert training_text(SUM_WITH_INPUT, p)[0] == (
        f"{ALPACA_WITH_INPUT} \n\n{S}### Instruction:\n{S}What is 1+1?\n{S}\n"
        f"{S}### Input:\n{S}{given}\n{S}\n{S}### Response:\n{S}"
    )
    assert evaluation_text(SUM_WITH_INPUT, p) == (
        f"{ALPACA_WITH_INPUT}\n\n{S}### Instruction:\n{S}What is 1+1?\n\n"
        f"{S}### Input:\n{S}{given}\n\n{S}### Response:\n{S}"
    )


@pytest.mark.parametrize(("style", "kept"), [("llama3", True), ("chatml", False), ("gemma", False)])
def test_white_space_is_stripped_as_in_the_published_code(protocol, style, kept):
    spaced = dataclasses.replace(SUM, instruction=" What?\n", output=" 2\n")
    prompt, target = training_text(spaced, protocol("paper", style))
    assert (" What?\n\n" in prompt) is kept and target.startswith(" 2\n<" if kept else "2")


def test_prompts_of_the_llama3_style(protocol):
    p = protocol("paper", "llama3")
    asked = f"{LLAMA3}### Instruction:\nWhat is 1+1?\n\n{LLAMA3_END}"
    assert training_text(SUM, p) == (asked, "1+1=2<|eot_id|><|end_of_text|>")
    assert evaluation_text(SUM, p) == asked
    assert evaluation_text(SUM_WITH_INPUT, p) == training_text(SUM_WITH_INPUT, p)[0]
    assert "1+1?\n\n### Input:\nUse {instruction}.\n\n### Resp" in evaluation_text(
        SUM_WITH_INPUT, p
    )


def test_prompts_of_the_chatml_style(protocol):
    p = protocol("paper", "chatml")
    asked = f"{CHATML}What is 1+1?<|im_end|>\n<|im_start|>assistant\n"
    assert training_text(SUM, p) == (asked, "1+1=2<|im_end|>\n")
    assert evaluation_text(SUM, p) == asked
    assert evaluation_text(SUM_WITH_INPUT, p) == (
        f"{CHATML}What is 1+1?\n\nInput:\nUse {{instruction}}.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_prompts_of_the_gemma_style(protocol):
    p = protocol("paper", "gemma")
    assert training_text(SUM, p) == (
        f"{SYSTEM}<|user|>\nWhat is 1+1?\n<|end_of_turn|>\n<|assistant|>\n",
        "1+1=2\n<|end_of_turn|>\n",
    )
    assert evaluation_text(SUM, p) == (
        f"{SYSTEM}<|user|>\n{ALPACA}\n\n### Instruction:\nWhat is 1+1?\n<|end_of_turn|>\n"
        "<|assistant|>\n"
    )
    assert evaluation_text(SUM_WITH_INPUT, p) == (
        f"{SYSTEM}<|user|>\n{ALPACA}\n\n### Instruction:\nWhat is 1+1?\n\n"
        "### Input:\nUse {instruction}.\n<|end_of_turn|>\n<|assistant|>\n"
    )


@pytest.mark.parametrize(
    "problem", [CHOICE, UNKNOWN_CHOICE, dataclasses.replace(CHOICE, input="A passage.")]
)
def test_gemma_uses_the_training_prompt_for_choices(protocol, problem):
    p = protocol("paper", "gemma")
    assert evaluation_text(problem, p) == training_text(problem, p)[0]


def test_choices_have_a_limit_of_their_own(protocol):
    p = protocol("llm_adapters")
    assert [new_tokens(x, p) for x in (SUM, CHOICE, UNKNOWN_CHOICE)] == [256, 32, 32]


LONG = dataclasses.replace(SUM, output="1+1=2 and " * 60)


def encode(tokenizer, protocol, problem, max_length, train_on_inputs=True):
    short = dataclasses.replace(protocol, max_length=max_length)
    return encode_training((problem,), tokenizer, short, 2048, train_on_inputs)


@pytest.mark.parametrize(
    ("name", "style", "length", "ends"),
    [
        ("llm_adapters", None, 100, False),
        ("paper", "llama3", 101, True),
        ("paper", "chatml", 100, False),
        ("paper", "gemma", 100, False),
    ],
)
def test_a_long_row_is_truncated_as_in_the_published_code(
    tiny, protocol, name, style, length, ends
):
    tokenizer = tiny[1]
    (example,), left_out = encode(tokenizer, protocol(name, style), LONG, 100)
    assert len(example.ids) == length and example.cut and left_out == 0
    assert (example.ids[-1] == tokenizer.eos_token_id) is ends


def test_a_row_that_fits_ends_with_one_end_of_sequence(tiny, protocol):
    tokenizer, p = tiny[1], protocol("llm_adapters")
    for target in ("{output}", "{output}</s>"):
        (example,), _ = encode(tokenizer, dataclasses.replace(p, target=target), SUM, 500)
        assert example.ids.count(tokenizer.eos_token_id) == 1 and not example.cut


def test_a_row_truncated_before_its_answer_is_dropped_if_only_the_answer_counts(tiny, protocol):
    p = protocol("llm_adapters")
    assert encode(tiny[1], p, LONG, 20, train_on_inputs=False) == ([], 1)
    (example,), _ = encode(tiny[1], p, LONG, 200, train_on_inputs=False)
    assert example.labels[0] == IGNORED and example.targets


STYLES = {"chatml": {"target": "a", "strip": False}, "llama3": {"target": "b", "strip": True}}


@pytest.mark.parametrize(
    ("keys", "of_base", "expected"),
    [
        ({}, "chatml", {"style": "chatml", "target": "a", "strip": False}),
        ({"style": "llama3"}, "chatml", {"style": "llama3", "target": "b", "strip": True}),
        ({"target": "own"}, "chatml", {"style": "chatml", "target": "own", "strip": False}),
    ],
)
def test_the_style_is_the_given_one_or_the_bases_and_given_keys_override_it(
    keys, of_base, expected
):
    assert in_style({"name": "p", "styles": STYLES} | keys, of_base) == {"name": "p"} | expected


def test_a_missing_or_unknown_style_is_refused():
    with pytest.raises(InputError, match=r"protocol\.style=chatml or protocol\.style=llama3"):
        in_style({"name": "p", "styles": STYLES}, None)
    with pytest.raises(InputError, match="Did you mean llama3"):
        in_style({"name": "p", "styles": STYLES, "style": "llama2"}, None)


def test_the_base_of_a_run_sets_the_style(compose):
    base = ("model=hub", "model.path=a/b", "protocol=paper", "model.prompt_style=gemma")
    assert "<|system|>" in compose(*base).protocol.train_prompt


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_prompt_with_input": "{instruction}"}, "must contain {input}"),
        ({"choice_prompt": "{input}"}, "must contain {instruction}"),
        ({"choice_max_new_tokens": 0}, "must be at least 1"),
        ({"answer_end": ""}, "null for none"),
        ({"choice_rule": "lowr"}, r"protocol\.choice_rule 'lowr'. Did you mean lower"),
        ({"letter_rule": "frist"}, r"protocol\.letter_rule 'frist'. Did you mean first"),
    ],
)
def test_an_invalid_protocol_is_refused(protocol, changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(protocol("fast"), **changes)
