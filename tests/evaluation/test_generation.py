import shutil
from types import SimpleNamespace

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


def prompts_of(tokenizer, count=10):
    rows = problems("mawps", "train", count, seed=5)
    # Statements that the base goes on from by itself, of very different lengths.
    texts = [row["instruction"].rsplit(". ", 1)[0] + ". Step by step:" for row in rows]
    texts[0] = "13+24="
    return dict(enumerate(tokenizer(texts)["input_ids"]))


def all_texts(model, tokenizer, prompts, batch_size, max_new_tokens=24, num_beams=1):
    batches = generate(model, tokenizer, prompts, max_new_tokens, batch_size, num_beams=num_beams)
    return {g.index: (g.text, g.tokens) for batch in batches for g in batch}


def test_the_batch_size_never_changes_an_answer(tiny):
    prompts = prompts_of(tiny[1])
    alone = all_texts(*tiny, prompts, batch_size=1)
    assert all_texts(*tiny, prompts, batch_size=8) == alone
    assert len({text for text, _ in alone.values()}) > 5


def test_the_batch_size_never_changes_an_answer_of_hyplora(fresh_tiny):
    base, tokenizer = fresh_tiny
    prompts = prompts_of(tokenizer)
    without = all_texts(base, tokenizer, prompts, batch_size=8)
    options = {"r": 4, "target_modules": ["q_proj", "down_proj"]}
    model = attach(base, "hyplora", options).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "hyplora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    alone = all_texts(model, tokenizer, prompts, batch_size=1)
    assert all_texts(model, tokenizer, prompts, batch_size=8) == alone != without


@pytest.mark.parametrize("base", ["tiny", "random"])
def test_the_batch_size_never_changes_an_answer_of_four_beams(tiny, local_base, base):
    model, tokenizer = tiny
    if base == "random":
        settings = ModelSettings("local", str(local_base), None, "float32", None, False)
        model = load_base(settings, torch.device("cpu"))[0]
    prompts = prompts_of(tokenizer, 20)
    alone = all_texts(model, tokenizer, prompts, batch_size=1, num_beams=4)
    for size in (3, 20):
        assert all_texts(model, tokenizer, prompts, batch_size=size, num_beams=4) == alone
    assert alone != all_texts(model, tokenizer, prompts, batch_size=20)


def test_the_batch_size_never_changes_an_answer_of_four_beams_behind_a_prefix(fresh_tiny):
    base, tokenizer = fresh_tiny
    torch.manual_seed(0)
    model = attach(base, "prefix", {"num_virtual_tokens": 4}).eval()
    prompts = prompts_of(tokenizer)
    alone = all_texts(model, tokenizer, prompts, batch_size=1, num_beams=4)
    assert all_texts(model, tokenizer, prompts, batch_size=8, num_beams=4) == alone


def test_four_beams_find_what_is_at_least_as_likely_as_the_greedy_text(tiny):
    model, tokenizer = tiny

    def likelihood(prompt, text):
        ids = torch.tensor([prompt + tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            scores = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return float(scores.gather(1, ids[0, len(prompt) :, None]).mean())

    prompts = prompts_of(tokenizer)
    greedy, beams = (
        sum(likelihood(prompts[i], text) for i, (text, _) in written.items())
        for written in (
            all_texts(model, tokenizer, prompts, 10, num_beams=beams) for beams in (1, 4)
        )
    )
    assert beams > greedy


def test_beams_that_do_not_fit_in_memory_are_halved_by_prompts(tiny, monkeypatch):
    model, tokenizer = tiny
    prompts = prompts_of(tokenizer)
    alone = all_texts(model, tokenizer, prompts, batch_size=1, num_beams=4)
    whole = model.forward

    def full(input_ids, **options):
        if len(input_ids) > 3 * 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "forward", full)
    assert all_texts(model, tokenizer, prompts, batch_size=10, num_beams=4) == alone


def test_a_batch_that_does_not_fit_in_memory_is_halved(tiny, monkeypatch, capsys):
    model, tokenizer = tiny
    prompts = prompts_of(tokenizer)
    alone = all_texts(model, tokenizer, prompts, batch_size=1)
    whole, asked = model.generate, []

    def full(input_ids, **options):
        asked.append(len(input_ids))
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "generate", full)
    assert all_texts(model, tokenizer, prompts, batch_size=10) == alone
    assert asked == [10, 5, 3, 3, 3, 1]
    assert "out of memory with 10 rows at once; continuing with 5" in capsys.readouterr().out


def test_a_prompt_that_does_not_fit_alone_ends_the_evaluation(tiny, monkeypatch):
    def full(**options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(tiny[0], "generate", full)
    with pytest.raises(Failure, match=r"not even one row fits .* protocol\.max_new_tokens"):
        all_texts(*tiny, prompts_of(tiny[1], 2), batch_size=2)


def test_each_row_ends_at_its_own_end_of_sequence(tiny):
    tokenizer = tiny[1]
    eos, three = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("3")

    class Stops(torch.nn.Module):
        """Writes a 3 in every step, but ends the first row after one and the second after two."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def generate(self, input_ids, **options):
            written = torch.full((2, 4), three)
            written[0, 1:] = eos
            written[1, 2:] = eos
            return torch.cat([input_ids, written], dim=1)

    texts = all_texts(Stops(), tokenizer, {0: [5, 6], 1: [5, 6]}, batch_size=2)
    assert texts == {0: ("3", 2), 1: ("33", 3)}


class Writes(torch.nn.Module):
    """Writes the same text behind every prompt, and the end of the sequence."""

    def __init__(self, tokenizer, text):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        self.written = torch.tensor([[*ids, tokenizer.eos_token_id]])

    def generate(self, input_ids, **options):
        return torch.cat([input_ids, self.written.expand(len(input_ids), -1)], dim=1)


@pytest.mark.parametrize(
    ("end", "text"),
    [(None, "3 # 4 # 5"), ("#", "3 "), ("</s>", "3 # 4 # 5"), ("?", "3 # 4 # 5</s>")],
)
def test_what_stands_behind_the_end_of_an_answer_is_left_out(tiny, end, text):
    model = Writes(tiny[1], "3 # 4 # 5")
    ((written,),) = generate(model, tiny[1], {0: [5]}, 9, batch_size=1, answer_end=end)
    assert written.text == text


def test_the_longest_prompts_come_first(tiny):
    prompts = {0: [5], 1: [5, 6, 7], 2: [5, 6]}
    batches = generate(*tiny, prompts, max_new_tokens=1, batch_size=1)
    assert [batch[0].index for batch in batches] == [1, 2, 0]


def test_what_a_base_says_of_generation_is_not_mixed_in(tmp_path, tiny):
    model, tokenizer = tiny
    prompts = prompts_of(tokenizer, 4)
    greedy = all_texts(model, tokenizer, prompts, 4)
    shutil.copytree(TINY_BASE, tmp_path / "copy")
    own = GenerationConfig(do_sample=True, temperature=5.0, no_repeat_ngram_size=1)
    own.save_pretrained(tmp_path / "copy")
    settings = ModelSettings("copy", str(tmp_path / "copy"), None, "float32", None, False)
    other = load_base(settings, torch.device("cpu"))[0]
    assert all_texts(other, tokenizer, prompts, 4) == greedy


def test_a_model_is_asked_with_its_mask(tiny):
    seen = SimpleNamespace(mask=None)

    class Looks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def generate(self, input_ids, attention_mask, **options):
            seen.mask = attention_mask
            return input_ids

    list(generate(Looks(), tiny[1], {0: [5], 1: [5, 6, 7]}, 1, batch_size=2))
    assert seen.mask.tolist() == [[1, 1, 1], [0, 0, 1]]
