"""The report of an embedding study: what it concludes if the committed study is changed."""

import numpy as np
import pytest
from scipy import stats

from bench.report.embeddings.findings import signs_of
from bench.report.embeddings.report import embeddings_report
from bench.report.formats import frame, to_markdown
from tests.report.formats.grids import rows


def text_of(study):
    return to_markdown(embeddings_report(study)).replace("&lt;", "<")


def test_a_set_without_a_fit_has_an_empty_row(study):
    fit = ("gamma", "low", "high", "xmin", "tail", "ks", "p", "against")
    row = study["frequency"][0] | dict.fromkeys(fit)
    text = text_of(study | {"frequency": [row]})
    assert "| MAWPS | 5,476 | 531 | - | - | - | - | - | - | - | - | - | 1.90 |" in text
    assert "too few different counts" in text


def test_a_p_value_that_no_replica_reached_is_below_one_of_them(study):
    study["frequency"][0]["p"] = 0.0
    text = text_of(study)
    assert "rejected for MAWPS (p <0.01)" in text and " | 0.022 | <0.01 | " in text
    found = frame(embeddings_report(study))
    p = found[found["column"] == "p"].iloc[0]
    assert p["text"] == "<0.01" and p["value"] != p["value"]


@pytest.mark.parametrize(
    ("role", "rhos", "answer"),
    [
        ("input", (-0.5, -0.4), "Yes, as the paper says"),
        ("input", (0.5, 0.4), "No, unlike in the paper"),
        ("input", (0.05, 0.0), "n.s."),
        ("input", (0.5, 0.0), "No, unlike in the paper"),
        ("input", (-0.5, 0.4), "It depends on the types and on the origin"),
        ("states", (-0.5, -0.4), "Yes: all types"),  # about which the paper says nothing
    ],
)
def test_whether_frequent_types_are_closer_follows_from_the_intervals(study, role, rhos, answer):
    kind = {"role": role, "counted": "texts", "tokens_of": "all", "n": 30}
    study["norms"]["correlations"] = [
        kind | {"centred": centred, "rho": rho, "low": rho - 0.1, "high": rho + 0.1}
        for rho, centred in zip(rhos, (False, True), strict=True)
    ]
    name = {"input": "input embedding", "states": "last block's output"}[role]
    assert f"of the {name}? {answer}" in text_of(study)


def test_an_untied_output_has_an_answer_of_its_own(untied):
    text = text_of(untied)
    assert "origin of the output embedding? No" in text
    assert [row[0] for row in rows(text)].count("output") == 3


def test_a_correlation_of_too_few_types_is_left_empty(study):
    for row in study["norms"]["correlations"]:
        row["rho"] = None
    text = text_of(study)
    assert rows(text[text.index("## Norm vs.") :])[2][:4] == ["input", "all", "824", "-"]
    assert "input embedding?" not in text


def test_word_groups_have_the_papers_values_for_a_base_that_it_has(study):
    study["model"]["published"] = "Gemma-7B"
    text = text_of(study)
    assert ["", "paper's Gemma-7B", "4,934.4", "1,838", "8,539", "3.160", "3.060", "3.299"] in rows(
        text
    )


def test_published_deltas_are_in_the_euclidean_row_of_their_set(study):
    study["model"]["published"] = "llama3-8b"
    found = [row for row in rows(text_of(study)) if row[0] == "MAWPS" and len(row) == 9]
    assert [(row[1], row[-1]) for row in found] == [("Euclidean", "0.06 ± 0.01"), ("cosine", "-")]


def test_the_papers_last_layer_is_shown_for_methods_that_it_has(study):
    study["model"]["published"] = "Gemma-7B"
    study["data"]["prompts"]["gsm8k"]["too_long"] = 2
    text = text_of(study)
    start = text.index("## Last hidden layer")
    last = {row[1]: row[-1] for row in rows(text[start:]) if len(row) == 9 and row[-1] != "-"}
    # Of AQuA, the last set.
    papers = {"base model": "0.31 ± 0.04", "LoRA": "0.24 ± 0.05", "HypLoRA (K=1.0)": "0.22 ± 0.03"}
    assert last.items() >= papers.items() and "Series" not in last
    assert "GSM8K 50 (2 left out as too long)" in text


@pytest.mark.parametrize(
    ("gaussian", "shuffled", "verdict"),
    [
        (0.3, 0.4, "more tree-like than lengths and vectors alone make it"),
        (0.1, 0.3, "but not more than random points"),
        (0.3, 0.1, "no evidence of a tree"),
        (0.2, 0.2, "no evidence of a tree"),
    ],
)
def test_a_delta_is_judged_by_its_controls(study, gaussian, shuffled, verdict):
    draws = np.random.default_rng(0)
    spread = {
        key: (value + draws.normal(0, 0.01, 50)).tolist()
        for key, value in (("embeddings", 0.2), ("gaussian", gaussian), ("shuffled", shuffled))
    }
    study["prompts"] = [study["prompts"][0] | spread | {"base_point": "first"}]
    study["hidden"] = []
    assert verdict in text_of(study)


def test_deltas_are_corrected_over_the_comparisons_of_a_table():
    draws = np.random.default_rng(0)
    noise = draws.normal(0, 1, 50)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    zero = np.zeros(50)

    def shifted(t):
        return (noise + t / np.sqrt(50), zero)

    # p of 0.03 is significant alone and not among five; p of 1e-5 is in both.
    weak, strong = (stats.t(49).isf(p / 2) for p in (0.03, 1e-5))
    assert signs_of({("weak", ""): shifted(weak)}) == {("weak", ""): 1}
    pairs = {("null", str(i)): shifted(0.0) for i in range(3)}
    pairs |= {("weak", ""): shifted(weak), ("strong", ""): shifted(-strong)}
    assert signs_of(pairs) == dict.fromkeys(pairs, 0) | {("strong", ""): -1}


@pytest.mark.parametrize(
    ("scale", "text"),
    [(55.43, "multiplies its embedding by 55.43"), (None, "adds to or rotates its embedding")],
)
def test_another_input_than_the_embedding_is_a_fact(study, scale, text):
    study["model"]["input_scale"] = scale
    assert text in text_of(study)


def test_a_study_of_the_base_alone_names_what_adds_the_methods(study):
    study["hidden"] = [row for row in study["hidden"] if row["method"] == "none"]
    assert "make reproduce-table2" in text_of(study)
