import pytest
import torch

from bench.embeddings.deltas import (
    EMBEDDINGS,
    STATES,
    cloud_count,
    gaussian_like,
    hidden_deltas,
    last_hidden,
    prompt_deltas,
)
from bench.geometry.hyperbolicity import relative_delta
from bench.methods import attach

FRONT = 0
PROMPTS = {"one": [[1, 300, 301, 302, 303, 304], [1, 310, 311, 312, 313]], "two": [[1, 5, 6, 7, 8]]}


@pytest.fixture
def embedding():
    return torch.randn(30, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def prompts():
    draw = torch.Generator().manual_seed(2)
    return {
        name: [[FRONT, *torch.randint(1, 30, (9,), generator=draw).tolist()] for _ in range(3)]
        for name in ("one", "two")
    }


def measured(embedding, prompts, seed=0, **options):
    found = prompt_deltas(embedding, prompts, [FRONT], seed, **options)
    return {(row["set"], row["metric"], row["base_point"]): row for row in found}


def test_each_prompt_has_the_delta_of_its_embeddings_and_other_controls(embedding, prompts):
    done = []
    found = measured(embedding, prompts, progress=done.append)
    assert len(found) == 2 * 4 and sum(done) == cloud_count(6, EMBEDDINGS)
    for (key, metric, base_point), row in found.items():
        assert row["tokens"] == [10, 10, 10]
        expected = [relative_delta(embedding[ids], base_point, metric) for ids in prompts[key]]
        assert row["embeddings"] == pytest.approx(expected, abs=1e-6)
        assert row["embeddings"] != row["gaussian"] != row["shuffled"] != row["embeddings"]


def test_the_seed_decides_the_controls_alone(embedding, prompts):
    one, same, other = (measured(embedding, prompts, seed) for seed in (0, 0, 1))
    key = ("one", "euclidean", "first")
    assert one == same and one[key]["embeddings"] == other[key]["embeddings"]
    assert one[key]["gaussian"] != other[key]["gaussian"]
    assert one[key]["shuffled"] != other[key]["shuffled"]


def test_controls_are_drawn_for_each_prompt(embedding, prompts):
    twice = {"one": [prompts["one"][0]] * 2}
    row = measured(embedding, twice | {"two": prompts["two"]})["one", "euclidean", "all"]
    for kind, same in (("embeddings", True), ("gaussian", False), ("shuffled", False)):
        assert (row[kind][0] == row[kind][1]) == same


def test_special_tokens_are_not_shuffled(prompts):
    # All other vectors are equal, so shuffling them changes nothing.
    same = torch.ones(30, 8)
    same[FRONT] = torch.arange(8.0)
    for row in measured(same, prompts).values():
        assert row["shuffled"] == row["embeddings"]


def test_a_zero_vector_does_not_end_the_study(embedding, prompts):
    embedding[prompts["one"][0][3]] = 0.0
    assert len(measured(embedding, prompts)["one", "cosine", "first"]["embeddings"]) == 3


def test_gaussian_vectors_have_the_norms_and_other_directions(embedding):
    drawn = gaussian_like(embedding, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.norm(dim=1), embedding.norm(dim=1))
    cosines = torch.nn.functional.cosine_similarity(drawn, embedding)
    assert cosines.mean().abs() < 0.3 and cosines.max() < 0.99


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
    assert sum(done) == cloud_count(3, STATES)
    assert all(len(row["states"]) == len(PROMPTS[row["set"]]) for row in found)
    assert found[0]["gaussian"] != found[0]["states"] != found[0]["shuffled"]
    # Shuffling the states of a single prompt, except for the first, changes their order alone.
    assert found[2]["shuffled"] == pytest.approx(found[2]["states"], abs=1e-6)
