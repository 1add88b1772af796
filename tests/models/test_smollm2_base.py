"""The base of `make smollm2`, if it was downloaded."""

import pytest
import torch

from bench.config import read_experiment
from bench.data.chat import prompt_ids, turn_end
from bench.data.general import general_documents
from bench.evaluation.generation import generate
from bench.models.loading import load_base
from tests.helpers import composed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base():
    run = read_experiment(composed("model=smollm2-135m", "protocol=chat"))
    if run.model.file is None or not run.model.folder.is_dir():
        pytest.skip("make smollm2 was not run")
    return *load_base(run.model, torch.device("cpu")), run.protocol


def test_its_tokens_are_those_that_it_was_trained_with(base):
    model, tokenizer, _ = base
    assert len(tokenizer) == model.config.vocab_size == 49152
    assert tokenizer.tokenize("a  12 ½") == ["a", "ĠĠ", "1", "2", "Ġ", "Â½"]
    assert tokenizer("a")["input_ids"] == [81]  # no beginning of the text
    assert model.generation_config.eos_token_id == [turn_end(tokenizer)] == [2]
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"


def test_it_predicts_english(base):
    model, tokenizer, _ = base
    text = "\n\n".join(general_documents("embedded", tiny=False))
    ids = torch.tensor(tokenizer([text])["input_ids"])
    with torch.no_grad():
        loss = float(model(ids, labels=ids).loss)
    assert 2.5 < loss < 3.6


def test_it_answers_a_question_and_ends_its_turn(base):
    model, tokenizer, protocol = base
    prompts = dict(enumerate(prompt_ids(["What is the capital of France?"], tokenizer, protocol)))
    ((answer,),) = generate(model, tokenizer, prompts, 24, 1)
    assert answer.text == "The capital of France is Paris." and answer.tokens < 24
    assert model.lm_head.weight is model.model.embed_tokens.weight
