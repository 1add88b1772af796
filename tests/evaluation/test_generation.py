import pytest
import torch
from transformers import GenerationConfig

from bench.data.synthetic.problems import generate as problems
from bench.errors import Failure
from bench.evaluation.generation import generate
from tests.evaluation.adapted import adapted


def prompts_of(tokenizer):
    rows = problems("mawps", "train", 6, seed=5)
    # Statements of very different lengths that the base continues without fine-tuning.
    texts = [row["instruction"].rsplit(". ", 1)[0] + ". Step by step:" for row in rows]
    texts[0] = "13+24="
    return dict(enumerate(tokenizer(texts)["input_ids"]))


def all_texts(model, tokenizer, prompts, batch_size, num_beams=1):
    batches = generate(model, tokenizer, prompts, 12, batch_size, num_beams=num_beams)
    return {g.index: (g.text, g.tokens) for batch in batches for g in batch}


@pytest.fixture(scope="module")
def alone(tiny):
    """The texts of the embedded base, generated one at a time, by number of beams."""
    prompts = prompts_of(tiny[1])
    return {beams: all_texts(*tiny, prompts, 1, num_beams=beams) for beams in (1, 3)}


@pytest.fixture
def model_of(fresh_tiny):
    return lambda kind: fresh_tiny[0] if kind == "base" else adapted(fresh_tiny[0], kind, 0.3)


def test_an_answer_ends_at_each_stop_token_of_the_base(fresh_tiny):
    model, tokenizer = fresh_tiny
    prompts = {0: tokenizer("13+24=")["input_ids"]}
    ((whole,),) = generate(model, tokenizer, prompts, 16, 1)
    stop = tokenizer(whole.text, add_special_tokens=False)["input_ids"][1]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, stop]
    ((found,),) = generate(model, tokenizer, prompts, 16, 1)
    assert whole.tokens > 2 and found.tokens == 2 and whole.text.startswith(found.text)


@pytest.mark.parametrize(
    ("kind", "beams"), [("base", 1), ("base", 3), ("hyplora", 1), ("prefix", 3)]
)
def test_the_batch_size_never_changes_an_answer(tiny, model_of, alone, kind, beams):
    model, prompts = model_of(kind), prompts_of(tiny[1])
    base = kind == "base"
    one_by_one = alone[beams] if base else all_texts(model, tiny[1], prompts, 1, num_beams=beams)
    assert base or one_by_one != alone[beams]
    for size in (4, 6):
        assert all_texts(model, tiny[1], prompts, size, num_beams=beams) == one_by_one
    assert alone[1] != alone[3] and len({text for text, _ in alone[1].values()}) > 3


@pytest.mark.parametrize("fits", [2, 0])
def test_a_batch_that_does_not_fit_in_memory_is_halved(
    tiny, alone, monkeypatch, capsys, few_objects, fits
):
    whole, sizes = tiny[0].generate, []

    def full(input_ids, **options):
        sizes.append(len(input_ids))
        if len(input_ids) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(input_ids=input_ids, **options)

    monkeypatch.setattr(tiny[0], "generate", full)
    prompts = prompts_of(tiny[1])
    if not fits:
        with pytest.raises(Failure, match=r"not even one row fits .* protocol\.max_new_tokens"):
            all_texts(*tiny, prompts, batch_size=2)
        return
    assert all_texts(*tiny, prompts, 10) == alone[1]
    assert sizes == [6, 3, 2, 2, 2]
    assert "out of memory with 6 rows at once; continuing with 3" in capsys.readouterr().out


class Writes(torch.nn.Module):
    """Appends given tokens to each row of a batch, and records the mask."""

    generation_config = GenerationConfig()

    def __init__(self, *rows):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.rows = torch.tensor(rows)

    def generate(self, input_ids, attention_mask, **options):
        self.mask = attention_mask.tolist()
        return torch.cat([input_ids, self.rows], dim=1)


def test_prompts_are_masked_longest_first_and_end_at_their_own_end_of_sequence(tiny):
    tokenizer = tiny[1]
    eos, three = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("3")
    model = Writes([three, eos, eos], [three, three, eos])
    (batch,) = generate(model, tokenizer, {0: [5], 1: [5, 6, 7]}, 3, batch_size=2)
    assert [(g.index, g.text, g.tokens) for g in batch] == [(1, "3", 2), (0, "33", 3)]
    assert model.mask == [[1, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("end", "text"),
    [(None, "3 # 4 # 5"), ("#", "3 "), ("</s>", "3 # 4 # 5"), ("?", "3 # 4 # 5</s>")],
)
def test_the_text_after_the_end_of_an_answer_is_discarded(tiny, end, text):
    tokenizer = tiny[1]
    ids = tokenizer("3 # 4 # 5", add_special_tokens=False)["input_ids"]
    model = Writes([*ids, tokenizer.eos_token_id])
    ((written,),) = generate(model, tokenizer, {0: [5]}, 9, batch_size=1, answer_end=end)
    assert written.text == text
