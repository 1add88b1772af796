import numpy as np
import pytest

from bench.embeddings.spaces import reference_spaces, sampled_delta, space_deltas
from bench.geometry.hyperbolicity import relative_deltas


@pytest.fixture(scope="module")
def measured():
    return {row["space"]: row for row in space_deltas(reference_spaces(16), 40, 2, 0)}


def test_trees_have_no_delta_and_cycles_and_spheres_do(measured):
    for name in ("tree", "scale-free graph, a tree"):
        assert not np.any([measured[name][way] for way in ("sampled", "first", "exact")])
    assert min(measured["scale-free graph"]["exact"]) > 0.3
    assert min(measured["sphere"]["exact"]) > 0.85


def test_delta_of_random_points_falls_with_the_dimension(measured):
    clouds = {row["dimension"]: row["exact"] for row in measured.values() if row["dimension"]}
    assert list(clouds) == [2, 16, 4096]
    assert max(clouds[4096]) < min(clouds[16]) < max(clouds[16]) < min(clouds[2])


def test_a_sample_is_at_most_the_exact_value(measured):
    for row in measured.values():
        for sampled, first, exact in zip(row["sampled"], row["first"], row["exact"], strict=True):
            assert max(sampled, first) <= exact + 1e-6 and exact / 2 <= first + 1e-6


def test_the_seed_decides_the_spaces():
    spaces = reference_spaces(16)[3:5]
    assert list(space_deltas(spaces, 12, 2, 7)) == list(space_deltas(spaces, 12, 2, 7))
    assert list(space_deltas(spaces, 12, 2, 7)) != list(space_deltas(spaces, 12, 2, 8))


def test_clouds_of_equal_dimension_are_one():
    assert len(reference_spaces(4096)) == len(reference_spaces(16)) - 1


def test_many_samples_include_every_quadruple():
    points = np.random.default_rng(0).normal(size=(6, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    sampled = sampled_delta(distances, 2000, np.random.default_rng(0))
    assert sampled == pytest.approx(relative_deltas([distances], "all", "precomputed")[0])
