import pytest
import torch

from bench.embeddings.deltas import cloud_count, control_deltas, gaussian_like, prompt_deltas
from bench.geometry.hyperbolicity import relative_delta

FRONT = 0


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
    assert len(found) == 2 * 4 and sum(done) == cloud_count(6)
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


def test_a_factor_of_the_embedding_changes_no_relative_delta(embedding, prompts):
    one, scaled = measured(embedding, prompts), measured(embedding * 55.4, prompts)
    for key, row in one.items():
        assert row["embeddings"] == pytest.approx(scaled[key]["embeddings"], abs=1e-5)


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


def test_clouds_and_controls_are_measured_alike(embedding):
    clouds = {key: [embedding[:6], embedding[6:12]] for key in ("own", "gaussian", "shuffled")}
    (row,) = control_deltas(clouds, [("euclidean", "all")])
    assert row["own"] == row["gaussian"] == row["shuffled"] and len(row["own"]) == 2
