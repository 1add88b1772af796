"""The figures of the embedding study: their data, and that a part may be missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report.embeddings_figures import draw_embeddings, embeddings_figures
from bench.report.embeddings_figures.delta import delta, hidden
from bench.report.embeddings_figures.disk import disk, disk_page
from bench.report.embeddings_figures.frequency import frequency
from bench.report.embeddings_figures.labels import HEIGHT, label_scales, text_width
from bench.report.embeddings_figures.layers import layers
from bench.report.embeddings_figures.norms import MOST_TOKENS, correlations, norms

FIGURES = ("frequency", "norms", "correlations", "delta", "hidden", "layers", "disk")
NOTHING = {
    "frequency": [], "tokens": [], "norms": {"groups": [], "correlations": [], "bins": []},
    "prompts": [], "spaces": [], "hidden": [], "layers": [], "disk": {},
}  # fmt: skip
PROMPTS = "Euclidean, base point: first token"


def facts(figure, **wanted):
    rows = figure.spec["data"]["values"]
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def test_each_figure_is_written_as_svg_and_png_and_the_disk_as_a_page(study, tmp_path, sketched):
    paths = draw_embeddings(study, tmp_path / "figures", "toy")
    names = [f"toy_{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png")]
    assert [path.name for path in paths] == [*names, "toy_disk.html"]
    assert paths[-1].read_text(encoding="utf-8") == disk_page(study)


def test_a_study_of_nothing_draws_nothing(study, tmp_path):
    assert embeddings_figures(study | NOTHING) == []
    assert draw_embeddings(study | NOTHING, tmp_path, "toy") == []


def test_the_fitted_law_begins_at_the_tail(study):
    row = study["frequency"][0]
    figure = frequency([row])
    law = [(fact["k"], fact["fitted"]) for fact in facts(figure) if "fitted" in fact]
    counts, types = np.array(row["counts"]).T
    tail = types[counts >= row["xmin"]].sum() / types.sum()
    assert law[0] == (row["xmin"], pytest.approx(tail, rel=1e-3))
    # Far out the law's share of types with at least k falls like k^(1 - gamma).
    slope = np.diff(np.log([value for _, value in law[-6:]])).sum()
    slope /= np.diff(np.log([k for k, _ in law[-6:]])).sum()
    assert slope == pytest.approx(1 - row["gamma"], abs=0.02)
    bare = row | {"gamma": None, "xmin": None, "low": None, "high": None}
    found = facts(frequency([bare]), set=f"{row['label']}\nno fit")
    assert len(found) == len(row["counts"]) and all("share" in fact for fact in found)


def test_every_matrix_and_way_of_counting_has_a_panel(untied):
    def titles(report):
        panels = norms(report).spec["concat"]
        return [panel["layer"][0]["encoding"]["y"]["title"] for panel in panels]

    each = ["norm of the input embedding", "norm of the output embedding"]
    assert titles(untied) == [title for title in each for _ in range(2)]
    for token in untied["tokens"]:
        token["pretraining"] = None
    assert titles(untied) == each


def test_norms_have_rho_bins_and_the_words_of_groups(study):
    figure = norms(study)
    panel = figure.spec["concat"][0]
    assert panel["layer"][0]["encoding"]["y"]["title"] == "norm of the input and output embedding"
    assert "Spearman's ρ = " in panel["title"]["text"]
    of_panel = {"panel": "input, texts"}
    words = study["norms"]["groups"][1]["words"]
    named = facts(figure, kind="G2: many, time, cost", **of_panel)
    assert [fact["count"] for fact in named] == [word["count"] for word in words]
    drawn = len(facts(figure, kind="token", **of_panel))
    assert drawn == sum(token["count"] > 0 for token in study["tokens"])
    assert sum("q1" in fact for fact in facts(figure, **of_panel)) > 5


def test_of_very_many_tokens_some_are_drawn(study):
    token = study["tokens"][0]
    tokens = [token | {"text": f" {i}", "count": i + 1} for i in range(2 * MOST_TOKENS + 1)]
    figure = norms(study | {"tokens": tokens})
    assert len(facts(figure, kind="token", panel="input, texts")) <= MOST_TOKENS
    assert "2,000 of 4,001 tokens" in figure.caption


def test_a_correlation_that_could_not_be_measured_is_left_out(study):
    rows = [row | {"rho": None} for row in study["norms"]["correlations"]]
    assert correlations(rows) is None
    (fact,) = facts(correlations([*rows, rows[0] | {"tokens_of": "all", "rho": 0.1}]))
    assert (fact["tokens"], fact["rho"]) == ("all tokens that occur", 0.1)


def test_prompts_have_quantiles_and_reference_spaces_where_they_were_measured(study):
    figure = delta(study["prompts"], study["spaces"])
    first = study["prompts"][0]
    (fact,) = facts(figure, panel=PROMPTS, row=first["label"], what="the tokens' embeddings")
    expected = np.quantile(first["embeddings"], (0.025, 0.25, 0.5, 0.75, 0.975))
    found = [fact[key] for key in ("low", "q25", "median", "q75", "high")]
    assert found == pytest.approx(expected.tolist(), rel=1e-3)
    lines = figure.spec["spec"]["layer"][0]["data"]["values"]
    assert {"what": "tree: 0.00", "delta": 0.0} in lines
    rows = [r for r in study["prompts"] if (r["metric"], r["base_point"]) == ("cosine", "all")]
    assert {fact["panel"] for fact in facts(delta(rows, []))} == {"cosine, base point: worst"}


def test_runs_of_a_method_are_drawn_together(study):
    base = study["hidden"][0]
    again = base | {"states": [value + 1 for value in base["states"]]}
    (fact,) = facts(hidden([base, again]), panel=PROMPTS, what=base["label"])
    together = np.median(base["states"] + again["states"])
    assert fact["median"] == pytest.approx(together, rel=1e-3)


def test_layers_with_the_same_inputs_share_a_panel(study):
    model = next(model for model in study["layers"] if model["model"] == "HypLoRA (K=0.5)")
    found = facts(layers([study["layers"][0], model]), model="HypLoRA (K=0.5)", block=0)
    assert "q_proj, k_proj, v_proj" in {fact["module"] for fact in found}
    solid, dashed = (
        next(fact for fact in found if (fact["module"], fact["when"]) == ("down_proj", when))
        for when in ("solid", "dashed")
    )
    layer = next(each for each in model["layers"] if each["module"] == "down_proj")
    gates = [layer["gates"][place]["variation"] for place in (0, -1)]
    drawn = [solid[key] for key in ("rms", "variation_0", "variation_1")]
    assert drawn == pytest.approx([layer["rms_mean"], *gates], rel=1e-3)
    assert (dashed["rms"], dashed["K"]) == pytest.approx((layer["rms_largest"], 0.5), rel=1e-3)


def test_a_panel_has_the_mean_of_its_modules_curvatures():
    gates = [{"curvature": 1.0, "variation": 0.1}]
    both = {"block": 0, "tokens": 5, "gates": gates, "rms_mean": 1.0, "rms_largest": 2.0}
    both |= {"input": "same", "data_curvature": None}
    pair = [both | {"module": m, "adapter_curvature": K} for m, K in (("q_proj", 1), ("k_proj", 2))]
    figure = layers([{"model": "tiny", "method": "hyplora", "layers": pair}])
    (dashed,) = facts(figure, model="tiny", when="dashed")
    assert (dashed["module"], dashed["K"]) == ("q_proj, k_proj", 1.5)


def test_layers_whose_values_are_all_zero_are_not_drawn():
    gates = [{"curvature": 1.0, "variation": 0.0}]
    zero = dict.fromkeys(("rms_mean", "rms_largest"), 0.0)
    layer = {"module": "q_proj", "block": 0, "gates": gates, "tokens": 5, **zero}
    layer |= dict.fromkeys(("data_curvature", "adapter_curvature"))
    assert layers([{"model": "tiny", "method": "none", "layers": [layer]}]) is None


def test_models_of_one_method_have_one_colour_and_different_shapes(study):
    block = layers(study["layers"]).spec["vconcat"][0]["spec"]["layer"][1]
    colour, shape = (block["encoding"][channel]["scale"] for channel in ("color", "shape"))
    looks = list(zip(colour["range"], shape["range"], strict=True))
    places = [i for i, model in enumerate(study["layers"]) if model["method"] == "hyplora"]
    assert len({colour["range"][place] for place in places}) == 1
    assert len(set(looks)) == len(looks)


def test_words_may_be_anything(study):
    strange = ("$x^2$", "</script>", "a_b\\c", "日本語", "ﷺ", "<b>", "\u202eabc")
    for word, text in zip(study["disk"]["words"], strange, strict=False):
        word["text"] = text
    texts = disk(study).spec["layer"][-1]["data"]["values"]
    assert set(strange) & {row["text"] for row in texts}


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.integers(2, 40), st.integers(0, 2**31), st.floats(5, 500))
def test_no_two_labels_that_are_shown_at_a_scale_overlap(n, seed, scale):
    rng = np.random.default_rng(seed)
    places, sizes = rng.uniform(-1, 1, size=(n, 2)), rng.uniform(5, 15, size=n).tolist()
    texts = ["x" * length for length in rng.integers(1, 12, size=n)]
    shown = [i for i, least in enumerate(label_scales(places, texts, sizes)) if least <= scale]
    assert 0 in shown
    for i in shown:
        for j in shown:
            if i < j:
                across, along = np.abs(places[i] - places[j]) * scale
                width = (text_width(texts[i], sizes[i]) + text_width(texts[j], sizes[j])) / 2
                height = HEIGHT * (sizes[i] + sizes[j]) / 2
                assert across >= width * (1 - 1e-9) or along >= height * (1 - 1e-9)


def test_a_label_in_the_place_of_another_is_never_shown():
    assert label_scales(np.zeros((2, 2)), ["a", "b"], [8, 8]) == [0, math.inf]
