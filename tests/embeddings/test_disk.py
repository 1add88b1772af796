import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.embeddings.disk import AMONG, layout, most_frequent


def clusters(sizes=(6, 6, 6), d=24, seed=0):
    """Directions in groups of near relatives, of various lengths."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(len(sizes), d))
    units = np.concatenate(
        [m + 0.2 * rng.normal(size=(n, d)) for m, n in zip(middles, sizes, strict=True)]
    )
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return units * rng.uniform(1, 2, size=(len(units), 1))


def laid_out(vectors, **options):
    words = [f"w{i}" for i in range(len(vectors))]
    return layout(words, range(1, len(vectors) + 1), vectors, **options)


def polar(disk):
    places = np.array([[word["x"], word["y"]] for word in disk["words"]])
    return np.hypot(*places.T), np.arctan2(places[:, 1], places[:, 0])


def test_a_words_distance_from_the_origin_grows_linearly_with_its_norm():
    vectors = clusters()
    disk = laid_out(vectors)
    radius, _ = polar(disk)
    expected = disk["scale"] * (np.linalg.norm(vectors, axis=1) - disk["centre"])
    assert 2 * np.arctanh(radius) == pytest.approx(expected, abs=1e-3)
    assert radius.min() < 0.3 and 0.8 < radius.max() < 1


def test_the_rings_are_where_words_of_that_norm_lie():
    disk = laid_out(clusters())
    radius, _ = polar(disk)
    norms = [word["norm"] for word in disk["words"]]
    order = np.argsort(norms)
    assert len(disk["rings"]) >= 3
    for ring in disk["rings"]:
        between = np.interp(ring["norm"], np.array(norms)[order], radius[order])
        assert ring["radius"] == pytest.approx(between, abs=0.03)


@pytest.mark.parametrize("sizes", [(5, 8, 3, 6), (6, 6, 6)])
def test_relatives_share_an_arc_and_gaps_between_clusters_are_wider(sizes):
    _, angle = polar(laid_out(clusters(sizes)))
    order = np.argsort(angle)
    gaps = np.diff(np.append(angle[order], angle[order[0]] + 2 * math.pi))
    groups = np.repeat(np.arange(len(sizes)), sizes)[order]
    between = groups != np.roll(groups, -1)
    assert between.sum() == len(sizes)
    assert gaps[between].min() > 2 * gaps[~between].max()


def test_relatives_have_the_largest_cosines_and_a_parent_a_smaller_norm():
    vectors = clusters()
    norms = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ vectors.T / np.outer(norms, norms) - 2 * np.eye(len(norms))
    for i, word in enumerate(laid_out(vectors, relatives=4)["words"]):
        assert word["relatives"] == np.argsort(-cosines[i])[:4].tolist()
        assert word["cosines"] == pytest.approx(np.sort(cosines[i])[::-1][:4], abs=1e-3)
        smaller = [j for j in range(len(norms)) if norms[j] < norms[i]]
        assert word["parent"] == max(smaller, key=lambda j: cosines[i, j], default=None)


def test_an_edge_is_a_circle_that_meets_the_boundary_at_right_angles():
    words = laid_out(clusters())["words"]
    for word in words:
        if word["parent"] is None:
            assert word["edge"] == []
            continue
        path = np.array(word["edge"])
        parent = words[word["parent"]]
        assert path[0] == pytest.approx([word["x"], word["y"]], abs=1e-5)
        assert path[-1] == pytest.approx([parent["x"], parent["y"]], abs=1e-5)
        # Circles orthogonal to the unit circle: x^2 + y^2 + 1 = a x + b y, lines through 0 aside.
        sides = np.column_stack([path, -(path**2).sum(axis=1) - 1])
        smallest = np.linalg.svd(sides, compute_uv=False)[-1]
        assert smallest < 1e-4


def test_related_words_are_kept_near_and_unrelated_ones_hardly_more_than_by_chance():
    disk = laid_out(clusters((12,) * 8))
    assert disk["kept_by_chance"] == pytest.approx(AMONG / 95)
    assert disk["kept"] > 5 * disk["kept_by_chance"]
    disk = laid_out(np.random.default_rng(0).normal(size=(96, 300)))
    assert disk["kept"] < 4 * disk["kept_by_chance"]


@settings(derandomize=True, deadline=None, max_examples=10)
@given(st.integers(0, 6), st.integers(1, 4), st.integers(0, 2**31), st.booleans())
def test_few_equal_and_zero_vectors_have_positions(n, d, seed, flat):
    vectors = np.random.default_rng(seed).integers(-1, 2, size=(n, d)).astype(float)
    if flat:
        vectors = np.ones((n, d))
    disk = laid_out(vectors)
    assert len(disk["words"]) == n
    assert all(math.hypot(word["x"], word["y"]) < 1 for word in disk["words"])
    assert sum(word["parent"] is None for word in disk["words"]) == min(n, 1)


def test_one_outlier_does_not_crowd_the_others():
    vectors = np.concatenate([clusters((20, 20, 20)), 40 * np.ones((1, 24))])
    radius, _ = polar(laid_out(vectors))
    assert np.ptp(radius[:-1]) > 0.5 and radius[-1] == pytest.approx(1, abs=1e-3)


def test_embeddings_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        layout(["a"], [1], np.array([[math.nan]]))


def test_the_most_frequent_token_represents_a_word():
    texts = [" the", "the", "The", " cat", "dog", " dog"]
    assert most_frequent(texts, [5, 9, 3, 0, 4, 4], limit=10) == [1, 4, 2]
    assert most_frequent(texts, [5, 9, 3, 0, 4, 4], limit=2) == [1, 4]
