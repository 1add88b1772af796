"""The pictures of the embedding study: what is in them, and that a part may be missing."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report.embeddings_figures import draw_embeddings
from bench.report.embeddings_figures.delta import hidden, prompts
from bench.report.embeddings_figures.disk import disk
from bench.report.embeddings_figures.disk_page import disk_page
from bench.report.embeddings_figures.frequency import frequency
from bench.report.embeddings_figures.labels import HEIGHT, label_scales, text_width
from bench.report.embeddings_figures.layers import layers
from bench.report.embeddings_figures.norms import correlations, norms
from bench.report.style import save

PICTURES = ("frequency", "norms", "correlations", "delta", "hidden", "layers", "disk")
EMPTY = {
    "frequency": {"frequency": []},
    "norms": {"tokens": []},
    "correlations": {"norms": {"groups": [], "correlations": [], "bins": []}},
    "delta": {"prompts": []},
    "hidden": {"hidden": []},
    "layers": {"layers": []},
    "disk": {"disk": {}},
}


@pytest.fixture(scope="module")
def study(made_study):
    return made_study()


def names(paths):
    return {path.name.removeprefix("embeddings_") for path in paths}


def lines(axis, label):
    return [line for line in axis.get_lines() if line.get_label() == label]


def test_each_picture_is_written_as_svg_and_png_and_the_disk_as_a_page(study, tmp_path):
    paths = draw_embeddings(study, tmp_path / "figures")
    assert names(paths) == {f"{p}.{end}" for p in PICTURES for end in ("svg", "png")} | {
        "disk.html"
    }
    assert all(path.stat().st_size > 3000 for path in paths)


@pytest.mark.parametrize("picture", [norms, disk])
def test_the_same_study_gives_the_same_files(study, tmp_path, picture):
    one, two = (save(picture(study), tmp_path / folder, "x") for folder in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_the_same_study_gives_the_same_page(study):
    assert disk_page(study) == disk_page(study)


@pytest.mark.parametrize("missing", PICTURES)
def test_a_picture_whose_part_is_missing_is_left_out(study, tmp_path, missing):
    with patch(
        "bench.report.embeddings_figures.save", lambda figure, folder, name: [folder / name]
    ):
        found = names(draw_embeddings(study | EMPTY[missing], tmp_path))
    expected = set(PICTURES) - {missing} | ({"disk.html"} if missing != "disk" else set())
    assert found == expected


def test_a_study_of_nothing_draws_nothing(study, tmp_path):
    nothing = {key: value for part in EMPTY.values() for key, value in part.items()}
    assert draw_embeddings(study | nothing | {"spaces": []}, tmp_path) == []


def test_the_fitted_law_begins_where_the_tail_does(study):
    row = study["frequency"][0]
    axis = frequency([row]).axes[0]
    (law,) = lines(axis, "discrete power law, fitted from xmin on")
    counts, types = np.array(row["counts"]).T
    assert law.get_xdata()[0] == row["xmin"]
    assert law.get_ydata()[0] == pytest.approx(types[counts >= row["xmin"]].sum() / types.sum())
    # Far out the law's share of types with at least k falls like k^(1 - gamma).
    slope = np.diff(np.log(law.get_ydata()[-2:])) / np.diff(np.log(law.get_xdata()[-2:]))
    assert slope == pytest.approx(1 - row["gamma"], abs=0.02)
    assert "γ = 1.90 [1.80, 2.00], xmin = 2" in axis.get_title()


def test_a_set_without_a_fit_shows_its_counts_alone(study):
    row = study["frequency"][0] | {"gamma": None, "xmin": None, "low": None, "high": None}
    axis = frequency([row]).axes[0]
    assert len(axis.get_lines()) == 1 and "no fit" in axis.get_title()


def test_every_matrix_and_way_of_counting_has_a_panel(made_study):
    def roles(report):
        return [axis.get_ylabel() for axis in norms(report).axes]

    untied = made_study(tied=False)
    assert roles(untied) == ["norm: input embedding"] * 2 + ["norm: output embedding"] * 2
    for token in untied["tokens"]:
        token["pretraining"] = None
    assert roles(untied) == ["norm: input embedding", "norm: output embedding"]
    assert roles(made_study(tied=True)) == ["norm: input, and output embedding"] * 2


def test_the_title_has_rho_and_the_groups_words_stand_at_their_counts(study):
    axis = norms(study).axes[0]
    assert "ρ = -0.40 [-0.50, -0.30], 60 tokens" in axis.get_title()
    words = study["norms"]["groups"][0]["words"]
    (group,) = [line for line in axis.get_lines() if line.get_label().startswith("G1")]
    assert group.get_xdata().tolist() == [word["count"] for word in words]


def test_a_correlation_that_could_not_be_measured_is_left_out(study):
    rows = [dict(row) for row in study["norms"]["correlations"]]
    for row in rows:
        row.update(rho=None, low=None, high=None)
    assert correlations(rows) is None
    rows[0].update(rho=0.1, low=0.0, high=0.2)
    assert len(lines(correlations(rows).axes[0], "all tokens that occur")) == 1


def test_prompts_stand_at_their_median_beside_spaces(study):
    axis = prompts(study["prompts"], study["spaces"]).axes[0]
    first = study["prompts"][0]
    assert lines(axis, "the tokens' embeddings")[0].get_xdata() == np.median(first["embeddings"])
    (sphere,) = lines(axis, "sphere: 0.98")
    assert sphere.get_xdata()[0] == pytest.approx(0.98)


def test_only_what_was_measured_has_a_panel(study):
    rows = [r for r in study["prompts"] if (r["metric"], r["base_point"]) == ("cosine", "all")]
    (axis,) = prompts(rows, []).axes
    assert axis.get_title() == "cosine, base point: the worst"


def test_runs_of_a_method_are_drawn_together(study):
    base = [row for row in study["hidden"] if row["method"] == "none"]
    again = [row | {"states": [value + 1 for value in row["states"]]} for row in base]
    (line,) = lines(hidden(base + again).axes[0], "MAWPS")
    assert line.get_xdata() == np.median(base[0]["states"] + again[0]["states"])


def test_every_panel_has_room_for_its_values(study):
    rows = [
        row | {"states": [9.0]} if row["metric"] == "cosine" else row for row in study["hidden"]
    ]
    for axis in hidden(rows).axes:
        low, high = axis.get_xlim()
        assert low == 0 and high > 9


def test_layers_with_the_same_inputs_share_a_column(study):
    figure = layers(study["layers"])
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == ["q_proj\nk_proj", "o_proj", "down_proj"]


def test_the_adapters_curvature_is_beside_that_of_the_data(study):
    last = layers(study["layers"]).axes[-1]
    drawn = [line.get_ydata() for line in last.get_lines() if len(line.get_ydata())]
    assert [list(values) for values in drawn] == [[1.9] * 3, [1.9] * 3, [0.5] * 3]


def test_models_of_one_method_differ_by_their_marker(study):
    base, tuned = study["layers"]
    figure = layers([base, tuned, tuned | {"model": "HypLoRA (K=2.0)"}])
    looks = {
        (line.get_color(), line.get_marker()): line.get_label()
        for line in figure.axes[0].get_lines()
        if not line.get_label().startswith("_")
    }
    assert sorted(looks.values()) == ["HypLoRA", "HypLoRA (K=2.0)", "base model"]


def test_words_may_be_anything(made_study):
    strange = ("$x^2$", "</script>", "a_b\\c", "日本語", "ﷺ", "<b>", "\u202eabc")
    figure = disk(made_study(strange))
    figure.canvas.draw()
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert set(strange) & shown


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
