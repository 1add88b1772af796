import shutil

import pytest
import torch
from transformers import GenerationConfig

from bench.data.synthetic.problems import generate as problems
from bench.errors import Failure
from bench.evaluation.generation import generate
from bench.methods import attach
from bench.models.loading import load_base
from bench.models.settings import ModelSettings
from bench.models.tiny_base import TINY_BASE


def prompts_of(tokenizer, count=8):
    rows = problems("mawps", "train", count, seed=5)
    # Statements of very different lengths that the base continues without fine-tuning.
    texts = [row["instruction"].rsplit(". ", 1)[0] + ". Step by step:" for row in rows]
    texts[0] = "13+24="
    return dict(enumerate(tokenizer(texts)["input_ids"]))


def all_texts(model, tokenizer, prompts, batch_size, num_beams=1):
    batches = generate(model, tokenizer, prompts, 16, batch_size, num_beams=num_beams)
    return {g.index: (g.text, g.tokens) for batch in batches for g in batch}


@pytest.fixture(scope="module")
def alone(tiny):
    """The texts of the embedded base, generated one at a time, by number of beams."""
    prompts = prompts_of(tiny[1])
    return {beams: all_texts(*tiny, prompts, 1, num_beams=beams) for beams in (1, 4)}


@pytest.fixture
def model_of(fresh_tiny, local_base):
    def make(kind):
        base = fresh_tiny[0]
        if kind == "random":
            settings = ModelSettings("local", str(local_base), None, "float32", None, False)
            return load_base(settings, torch.device("cpu"))[0]
        torch.manual_seed(0)
        if kind == "prefix":
            return attach(base, "prefix", {"num_virtual_tokens": 4}).eval()
        options = {"r": 4, "target_modules": ["q_proj", "down_proj"]}
        model = attach(base, "hyplora", options).eval()
        for name, parameter in model.named_parameters():
            if "hyplora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        return model

    return make


def test_an_answer_ends_at_each_stop_token_of_the_base(fresh_tiny):
    model, tokenizer = fresh_tiny
    prompts = {0: tokenizer("13+24=")["input_ids"]}
    ((whole,),) = generate(model, tokenizer, prompts, 16, 1)
    stop = tokenizer(whole.text, add_special_tokens=False)["input_ids"][1]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, stop]
    ((found,),) = generate(model, tokenizer, prompts, 16, 1)
    assert whole.tokens > 2 and found.tokens == 2 and whole.text.startswith(found.text)


@pytest.mark.parametrize("beams", [1, 4])
def test_the_batch_size_never_changes_an_answer(tiny, alone, beams):
    prompts = prompts_of(tiny[1])
    for size in (3, 8):
        assert all_texts(*tiny, prompts, size, num_beams=beams) == alone[beams]
    assert alone[1] != alone[4] and len({text for text, _ in alone[1].values()}) > 4


@pytest.mark.parametrize(("kind", "beams"), [("hyplora", 1), ("random", 4), ("prefix", 4)])
def test_the_batch_size_never_changes_an_answer_of_another_model(
    tiny, model_of, alone, kind, beams
):
    model, prompts = model_of(kind), prompts_of(tiny[1])
    one_by_one = all_texts(model, tiny[1], prompts, 1, num_beams=beams)
    assert all_texts(model, tiny[1], prompts, 8, num_beams=beams) == one_by_one != alone[beams]


def test_four_beams_find_texts_at_least_as_likely_as_greedy_decoding(tiny, alone):
    model, tokenizer = tiny
    prompts = prompts_of(tokenizer)

    def likelihood(prompt, text):
        ids = torch.tensor([prompt + tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            scores = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return float(scores.gather(1, ids[0, len(prompt) :, None]).mean())

    greedy, beams = (
        sum(likelihood(prompts[i], text) for i, (text, _) in alone[n].items()) for n in (1, 4)
    )
    assert beams > greedy


@pytest.mark.parametrize("beams", [1, 4])
def test_a_batch_that_does_not_fit_in_memory_is_halved(tiny, alone, monkeypatch, capsys, beams):
    model, tokenizer = tiny
    whole, sizes = model.generate, []

    def full(input_ids, **options):
        sizes.append(len(input_ids))
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "generate", full)
    prompts = prompts_of(tokenizer)
    assert all_texts(model, tokenizer, prompts, 10, num_beams=beams) == alone[beams]
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert "out of memory with 8 rows at once; continuing with 4" in capsys.readouterr().out


def test_a_prompt_that_does_not_fit_alone_ends_the_evaluation(tiny, monkeypatch):
    def full(**options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(tiny[0], "generate", full)
    with pytest.raises(Failure, match=r"not even one row fits .* protocol\.max_new_tokens"):
        all_texts(*tiny, prompts_of(tiny[1], 2), batch_size=2)


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


def test_generation_settings_of_a_base_are_ignored(tmp_path, tiny, alone):
    folder = shutil.copytree(TINY_BASE, tmp_path / "copy")
    own = GenerationConfig(do_sample=True, temperature=5.0, no_repeat_ngram_size=1)
    own.save_pretrained(folder)
    settings = ModelSettings("copy", str(folder), None, "float32", None, False)
    other = load_base(settings, torch.device("cpu"))[0]
    assert all_texts(other, tiny[1], prompts_of(tiny[1]), 8) == alone[1]
