import itertools

import numpy as np
import pytest

from bench.embeddings.spaces import reference_spaces, sampled_delta, space_deltas
from bench.geometry.hyperbolicity import relative_deltas


@pytest.fixture(scope="module")
def measured():
    return {row["space"]: row for row in space_deltas(reference_spaces(16), 40, 2, 0)}


def test_trees_have_no_delta_by_any_measure(measured):
    for name in ("tree", "scale-free graph, a tree"):
        assert not np.any([measured[name][way] for way in ("sampled", "first", "exact")])


def test_cycles_in_a_scale_free_graph_take_it_away_from_a_tree(measured):
    assert min(measured["scale-free graph"]["exact"]) > 0.3


def test_a_sphere_is_as_far_from_a_tree_as_a_space_can_be(measured):
    assert min(measured["sphere"]["exact"]) > 0.85


def test_random_points_get_more_tree_like_with_every_dimension(measured):
    clouds = {row["dimension"]: row["exact"] for row in measured.values() if row["dimension"]}
    assert list(clouds) == [2, 16, 4096]
    assert max(clouds[4096]) < min(clouds[16]) < max(clouds[16]) < min(clouds[2])


def test_a_sample_is_never_above_the_worst_of_all(measured):
    for row in measured.values():
        for sampled, first, exact in zip(row["sampled"], row["first"], row["exact"], strict=True):
            assert max(sampled, first) <= exact + 1e-6 and exact / 2 <= first + 1e-6


def test_the_same_seed_draws_the_same_spaces():
    spaces = reference_spaces(16)[3:5]
    assert list(space_deltas(spaces, 12, 2, 7)) == list(space_deltas(spaces, 12, 2, 7))
    assert list(space_deltas(spaces, 12, 2, 7)) != list(space_deltas(spaces, 12, 2, 8))


def test_a_base_as_wide_as_llama_has_no_cloud_twice():
    assert len(reference_spaces(4096)) == len(reference_spaces(16)) - 1


def test_enough_four_tuples_are_all_of_them():
    points = np.random.default_rng(0).normal(size=(6, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    worst = 0.0
    for a, b, c, d in itertools.combinations(range(6), 4):
        _, middle, high = sorted(
            (
                distances[a, b] + distances[c, d],
                distances[a, c] + distances[b, d],
                distances[a, d] + distances[b, c],
            )
        )
        worst = max(worst, high - middle)
    sampled = sampled_delta(distances, 2000, np.random.default_rng(0))
    assert sampled == pytest.approx(worst / distances.max())
    assert sampled == pytest.approx(relative_deltas([distances], "all", "precomputed")[0])
