import pytest
import torch

from bench.embeddings.deltas import cloud_count
from bench.embeddings.hidden import MEASURES, hidden_deltas, last_hidden
from bench.methods import attach

PROMPTS = {"one": [[1, 300, 301, 302, 303, 304], [1, 310, 311, 312, 313]], "two": [[1, 5, 6, 7, 8]]}


def test_the_states_are_the_inputs_of_the_output_layer(tiny):
    model, ids = tiny[0], PROMPTS["one"][0]
    states = last_hidden(model, ids)
    assert states.shape == (6, 192) and states.dtype == torch.float32
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        assert torch.allclose(model.lm_head(states), logits, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj"]}),
        ("prefix", {"num_virtual_tokens": 4}),
    ],
)
def test_an_adapter_changes_the_states_of_the_same_tokens(fresh_tiny, method, options):
    base, ids = fresh_tiny[0], PROMPTS["one"][0]
    before = last_hidden(base, ids)
    torch.manual_seed(0)
    model = attach(base, method, options).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "prompt" in name:
            torch.nn.init.normal_(parameter)
    after = last_hidden(model, ids)
    assert after.shape == before.shape and not torch.allclose(after, before, atol=1e-2)


def test_every_set_is_measured_from_both_base_points(tiny):
    done = []
    found = list(hidden_deltas(tiny[0], PROMPTS, 0, done.append))
    assert [(row["set"], row["base_point"]) for row in found] == [
        (key, base_point) for key in PROMPTS for base_point in ("first", "all")
    ]
    assert sum(done) == cloud_count(3, MEASURES)
    assert all(len(row["states"]) == len(PROMPTS[row["set"]]) for row in found)
    assert found[0]["gaussian"] != found[0]["states"] != found[0]["shuffled"]
    # Shuffling the states of a single prompt, except for the first, changes their order alone.
    assert found[2]["shuffled"] == pytest.approx(found[2]["states"], abs=1e-6)


def test_the_seed_decides_the_controls(tiny):
    one, same, other = (list(hidden_deltas(tiny[0], PROMPTS, seed)) for seed in (0, 0, 1))
    assert one == same and one[0]["gaussian"] != other[0]["gaussian"]
    assert one[0]["states"] == other[0]["states"]
