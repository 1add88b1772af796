import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import bench.embeddings.norms as module
from bench.embeddings.frequency import Counts, count_tokens
from bench.embeddings.norms import (
    all_norms,
    bins,
    correlations,
    spearman,
    state_norms,
    token_rows,
    unseen,
    word_groups,
)
from tests.helpers import random_model

SEEN = 60
PROMPTS = [[1, 300, 301, 300], [1, 302, 303]]


@pytest.fixture
def counts(tiny):
    """Types 300 to 359 of the tokenizer occur, the first of them most."""
    total = np.zeros(len(tiny[1]), dtype=np.int64)
    total[300 : 300 + SEEN] = np.arange(200, 200 - 3 * SEEN, -3)
    return Counts(total, np.zeros_like(total))


@pytest.fixture
def matrix(tiny):
    """Norms that fall with the count, and none of a type that does not occur."""
    rows = torch.zeros(len(tiny[1]), 8)
    rows[300 : 300 + SEEN, 0] = torch.arange(1.0, SEEN + 1)
    return rows


def rho(matrices, counts, tokenizer):
    norms = all_norms(matrices, counts.seen.tolist())
    found = correlations(norms, {"texts": counts}, tokenizer, 100, 0)
    return {(row["role"], row["centred"], row["tokens_of"]): row for row in found}


def test_frequent_types_closer_to_the_origin_have_a_negative_rho(matrix, counts, tiny):
    found = rho({"input": matrix}, counts, tiny[1])
    assert found["input", False, "all"]["rho"] == pytest.approx(-1)
    assert found["input", False, "all"]["n"] == SEEN
    assert {key[0] for key in found} == {"input"}
    both = rho({"input": matrix, "output": matrix.flip(0)}, counts, tiny[1])
    assert {key[0] for key in both} == {"input", "output"}


def test_a_common_direction_can_decide_the_sign(counts, tiny):
    rows = torch.zeros(len(tiny[1]), 2)
    rows[300 : 300 + SEEN, 0] = torch.linspace(1, 3, SEEN)  # frequent ones short, on one line
    found = rho({"input": rows}, counts, tiny[1])
    assert found["input", False, "all"]["rho"] == pytest.approx(-1)
    assert abs(found["input", True, "all"]["rho"]) < 0.1


def test_types_that_never_occur_and_rare_ones_are_left_out(matrix, counts, tiny):
    before = rho({"input": matrix}, counts, tiny[1])
    matrix[:300] = 1000.0
    assert rho({"input": matrix}, counts, tiny[1]) == before
    counts.total[300:310] = 19
    found = rho({"input": matrix}, counts, tiny[1])
    assert found["input", False, "frequent"]["n"] == (counts.total >= 20).sum()


def test_word_groups_list_missing_words(tiny):
    tokenizer = tiny[1]
    counts = count_tokens(tokenizer, ["to to in it. Many that. many many"], len(tokenizer))
    norms = np.arange(len(tokenizer), dtype=float)
    norms[tokenizer(" that", add_special_tokens=False)["input_ids"]] = np.nan
    found = {group["group"]: group for group in word_groups(tokenizer, counts, norms)}
    words = {word["word"]: word for word in found["G1"]["words"]}
    assert words["to"]["count"] == 1 and words["to"]["text"] == " to"
    assert words["in"]["norm"] == tokenizer(" in", add_special_tokens=False)["input_ids"][0]
    assert {"word": "is", "why": "not in the texts"} in found["G1"]["missing"]
    assert {"word": "that", "why": "not in the prompts"} in found["G1"]["missing"]
    assert {"word": "380", "why": "4 tokens"} in found["G4"]["missing"]
    assert [w["count"] for w in found["G2"]["words"] if w["word"] == "many"] == [2]
    assert found["G4"]["norm_mean"] is None and found["G4"]["words"] == []


def test_bins_hold_each_type_once(counts):
    found = list(bins({("input", False): np.ones(len(counts.total))}, {"texts": counts}))
    assert sum(one["n"] for one in found) == SEEN
    assert all(one["low"] <= one["count"] < one["high"] and one["mean"] == 1 for one in found)
    assert all(a["high"] <= b["low"] for a, b in itertools.pairwise(found))
    equal = Counts(np.array([1, 1]), np.array([0, 0]))
    (one,) = bins({("input", False): np.array([2.0, 4.0])}, {"texts": equal})
    assert one["n"] == 2 and one["mean"] == 3


def test_tokens_that_occur_have_a_row_and_the_others_are_summarised(matrix, counts, tiny):
    norms = all_norms({"input": matrix}, counts.seen.tolist())
    rows = token_rows(tiny[1], counts, None, norms)
    assert len(rows) == SEEN and rows[0]["id"] == 300 and rows[0]["count"] == 200
    assert rows[0]["norm"] == 1.0 and rows[0]["output_norm"] is None
    assert rows[0]["pretraining"] is None
    found = unseen(counts, len(tiny[1]), norms["input", False])
    assert found == {"tokens": len(tiny[1]) - SEEN, "norm_mean": 0.0, "norm_sd": 0.0}
    padded = torch.cat([matrix, torch.full((8, 8), 99.0)])  # of no types of the tokenizer
    more = Counts(np.append(counts.total, np.zeros(8, dtype=np.int64)), counts.whole)
    norms = all_norms({"input": padded}, more.seen.tolist())
    assert unseen(more, len(tiny[1]), norms["input", False])["norm_mean"] == 0.0


@pytest.mark.parametrize("kind", ["llama", "helm_d", "helm_mice"])
def test_state_norms_are_means_over_positions_before_the_final_norm(tiny, kind):
    model = tiny[0]
    if kind != "llama":
        model = random_model(kind, tiny[1]).eval()
    found = state_norms(model, PROMPTS, len(tiny[1]))
    inner = model.get_decoder()
    seen = []
    read = inner.norm if kind == "llama" else inner.final_proj
    handle = read.register_forward_pre_hook(lambda module, given: seen.append(given[0][0]))
    with torch.no_grad():
        for ids in PROMPTS:
            model(input_ids=torch.tensor([ids]))
    handle.remove()
    norms = [state.norm(dim=-1) for state in seen]
    assert found[300] == pytest.approx(float(norms[0][[1, 3]].mean()), rel=1e-5)
    assert found[303] == pytest.approx(float(norms[1][2]), rel=1e-5)
    # First positions do not count.
    assert np.isfinite(found).nonzero()[0].tolist() == [300, 301, 302, 303]


@pytest.fixture
def points():
    draw = np.random.default_rng(1)
    x = draw.integers(1, 12, 200)
    return x, draw.normal(size=200) + 0.1 * x


def test_the_interval_is_that_of_resampled_and_reranked_points(points, monkeypatch):
    x, y = points
    draw = np.random.default_rng(3)
    rhos = []
    for _ in range(300):
        drawn = draw.integers(len(x), size=len(x))
        rhos.append(spearmanr(x[drawn], y[drawn]).statistic)
    found = spearman(x, y, replicas=300, seed=3)
    assert found["rho"] == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    expected = np.quantile(rhos, (0.025, 0.975))
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected), abs=1e-12)
    monkeypatch.setattr(module, "CHUNK", 1000)  # the size of batches does not matter
    assert spearman(x, y, replicas=300, seed=3) == found


def test_resamples_of_equal_points_are_left_out(recwarn):
    found = spearman(np.array([2.0] + [1.0] * 9), np.arange(10.0))
    assert -1 <= found["low"] < found["high"] <= 1 and not recwarn


@pytest.mark.parametrize(
    ("x", "y"),
    [(np.arange(9), np.arange(9)), (np.ones(50), np.arange(50)), (np.arange(50), np.ones(50))],
)
def test_few_or_equal_points_have_no_rho(x, y):
    assert set(spearman(x, y).values()) == {None}
