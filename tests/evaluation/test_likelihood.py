import dataclasses
import math

import pytest
import torch
from transformers import LlamaForCausalLM

from bench.data.problems import Problem
from bench.data.prompts import LETTER_RULES
from bench.evaluation import likelihood
from bench.evaluation.likelihood import answer_nll
from tests.evaluation.adapted import OPTIONS, adapted
from tests.evaluation.test_evaluate import PROTOCOL as PLAIN

PROTOCOL = dataclasses.replace(
    PLAIN, train_prompt="Unlike {instruction}", target=" {output}", max_length=60,
    evaluation_prompt="Question: {instruction}\nAnswer:",
)  # fmt: skip
OUTPUTS = ("7+1=8. The answer is 8.", "9", "3+4=7. 7*2=14. 14-5=9. The answer is 9.", "2+2=4.")
ANSWERS = ("8", "9", "9", "4")
SETS = {
    "mawps": [
        Problem("mawps", "How many? " * i, "", *row)
        for i, row in enumerate(zip(OUTPUTS, ANSWERS, strict=True))
    ],
    "boolq": [Problem("boolq", "Is ice warm?", "", "the correct answer is false", "false")],
}
ROWS = {(key, index) for key, problems in SETS.items() for index in range(len(problems))}


def nll(model, tokenizer, sets=SETS, protocol=PROTOCOL, size=2, context=100, pending=ROWS):
    return answer_nll(model, tokenizer, sets, protocol, size, context, pending, "test")


@pytest.fixture
def model_of(local_base):
    def made(method):
        base = LlamaForCausalLM.from_pretrained(local_base)
        return base.eval() if method is None else adapted(base, method, 0.1)

    return made


@pytest.mark.parametrize("method", [None, *OPTIONS])
def test_it_is_the_mean_over_the_tokens_of_the_answer_and_its_end(model_of, tiny, method):
    model, tokenizer = model_of(method), tiny[1]
    found = nll(model, tokenizer, size=100)
    assert found.keys() == ROWS
    for (key, index), value in found.items():
        problem = SETS[key][index]
        prompt = f"Question: {problem.instruction.strip()}\nAnswer:"
        ids = [*tokenizer(f"{prompt} {problem.output}")["input_ids"], tokenizer.eos_token_id]
        first = len(tokenizer(prompt)["input_ids"])
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -len(ids) :]
        per_token = torch.nn.functional.cross_entropy(
            logits[first - 1 : -1], torch.tensor(ids[first:])
        )
        assert value == pytest.approx(float(per_token), abs=2e-5)
    for size in (1, 2):
        assert nll(model, tokenizer, size=size) == pytest.approx(found, abs=2e-5)


def test_what_is_left_after_a_kill_has_the_same_numbers(model_of, tiny):
    model = model_of("hyplora")
    whole = nll(model, tiny[1], size=1)
    reordered = dict(reversed(SETS.items()))
    for row in ROWS:
        found = nll(model, tiny[1], reordered, size=1, pending={row})
        assert found[row] == whole[row]
    assert nll(None, None, pending=set()) == {}


def test_a_row_without_output_or_too_long_has_none(model_of, tiny):
    model, tokenizer = model_of(None), tiny[1]
    sets = {"mawps": [
        Problem("mawps", "How many?", "", "  ", "1"),
        Problem("mawps", "How many?" * 40, "", "1", "1"),
        Problem("mawps", "How many?", "", "1+2=3. " * 20, "3"),
    ]}  # fmt: skip
    rows = {("mawps", index) for index in range(3)}
    assert nll(model, tokenizer, sets, pending=rows) == {}
    assert nll(model, tokenizer, SETS, context=5) == {}
    # As in training, a protocol may truncate: the prompt of row 1 is all that is left of it.
    cut = dataclasses.replace(PROTOCOL, cut_long_rows=True)
    assert nll(model, tokenizer, sets, cut, pending=rows).keys() == {("mawps", 2)}


@pytest.mark.parametrize(
    ("key", "output", "answer", "counts"),
    [
        ("SVAMP", "8-2=6. The answer is 6.", "6.0", True),
        ("SVAMP", "8-2=6. The answer is 6.", "7", False),
        ("AQuA", "Add them. The answer is B.", "B", True),
        ("AQuA", "Add them. The answer is B.", "A", False),
        ("boolq", "the correct answer is false", "true", False),
    ],
)
def test_a_row_counts_only_if_its_output_gives_the_gold_answer(
    model_of, tiny, key, output, answer, counts
):
    sets, model = {key: [Problem(key, "Which?", "", output, answer)]}, model_of(None)
    for rule in LETTER_RULES:
        protocol = dataclasses.replace(PROTOCOL, letter_rule=rule)
        found = nll(model, tiny[1], sets, protocol, pending={(key, 0)})
        assert found.keys() == ({(key, 0)} if counts else set()), rule


def test_a_likelihood_that_is_not_finite_is_left_out(model_of, tiny):
    model = model_of(None)
    model.lm_head.weight.data.fill_(math.nan)
    assert nll(model, tiny[1]) == {}


def test_a_batch_that_does_not_fit_in_memory_is_halved(
    model_of, tiny, monkeypatch, capsys, few_objects
):
    model, work, sizes = model_of(None), likelihood.summed_nats, []
    expected = nll(model, tiny[1])

    def limited(model, examples, pad_id):
        sizes.append(len(examples))
        if len(examples) > 2:
            raise torch.OutOfMemoryError
        return work(model, examples, pad_id)

    monkeypatch.setattr(likelihood, "summed_nats", limited)
    assert nll(model, tiny[1], size=100) == pytest.approx(expected, abs=2e-5)
    assert sizes[:3] == [5, 3, 2] and max(sizes[3:]) <= 3
    assert "out of memory with 5 rows" in capsys.readouterr().out
