"""What all figures have in common: files, specification for the page, colours, scales."""

import itertools
import json
import struct

import numpy as np
import pytest

from bench.report import theme
from bench.report.figure import (
    Figure,
    data,
    facet,
    look,
    names,
    numbered,
    page_spec,
    save,
    ticks,
    whiskers,
)

# Machado et al. (2009), severity 1, for linear RGB: protan-, deuter- and tritanopia.
DEFICIENCIES = {
    "none": np.eye(3).tolist(),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_LMS = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
TO_LAB = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
COLOURS = (*theme.PALETTE, theme.GREY)


def linear(colour):
    """Linear RGB, 0 to 1."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    light, dark = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_is_legible_on_white_and_on_the_dark_page(colour):
    assert contrast(colour, "#ffffff") >= 3 and contrast(colour, "#15171a") >= 3


@pytest.mark.parametrize("matrix", DEFICIENCIES.values(), ids=DEFICIENCIES)
def test_the_palette_is_distinct_with_any_colour_vision(matrix):
    def seen(colour):  # OKLab, in which 0.02 is a just noticeable difference
        rgb = np.clip(np.array(matrix) @ linear(colour), 0, 1)
        return np.array(TO_LAB) @ np.cbrt(np.array(TO_LMS) @ rgb)

    for one, other in itertools.combinations(theme.PALETTE, 2):
        assert np.linalg.norm(seen(one) - seen(other)) > 0.08, (one, other)


def test_methods_differ_in_colour_or_shape_and_look_the_same_in_every_table():
    looks = theme.method_looks([*theme.METHODS, *(f"new_{i}" for i in range(12))])
    assert len(set(looks.values())) == len(looks)
    assert {colour for colour, _ in looks.values()} <= set(COLOURS)
    few = theme.method_looks(["lora", "hyplora"])
    assert all(looks[method] == own for method, own in few.items())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.002, 40_000], [0.01, 1, 100, 10_000]),
        ([0, 8, 180], [10, 20, 50, 100]),
        ([31, 50], [35, 40, 45, 50]),
        ([3, 3], [3]),
        ([0], []),
    ],
)
def test_a_logarithmic_axis_is_labelled_at_round_numbers(values, expected):
    assert ticks(values) == expected


@pytest.fixture
def figure():
    import altair as alt

    rows = data(
        {"set": name, "row": row, "low": 0.0, "high": 2.0, "mean": 1.23456, "empty": None}
        for name in ("A", "B", "C")
        for row in ("<b>one</b>", "a row with a long name, $x_1$")
    )
    looks = look("row", {name: theme.look_of(i) for i, name in enumerate(("<b>one</b>", "other"))})
    y = names("row", ["<b>one</b>", "a row with a long name, $x_1$"])
    chart = facet(whiskers("mean", alt.X("low:Q"), looks, y=y), rows, "set", ["A", "B", "C"], 3, 40)
    return Figure("toy", "Title", "A caption. " * 30, chart)


def test_a_figure_is_saved_at_print_width_and_the_same_each_time(figure, tmp_path):
    import vl_convert

    svg, png = save(figure, tmp_path / "new", "toy_x")
    assert (svg.name, png.name) == ("toy_x.svg", "toy_x.png")
    content = png.read_bytes()
    width, _ = struct.unpack_from(">II", content, 16)
    assert width == pytest.approx(6.75 * 200, abs=4)
    metre, _ = struct.unpack_from(">II", content, content.index(b"pHYs") + 4)
    assert metre == pytest.approx(200 / 0.0254, abs=1)
    larger = vl_convert.svg_to_png(svg.read_text(), scale=0.75, ppi=200)
    assert len(content) < len(larger)
    again = save(figure, tmp_path / "again", "toy_x")
    assert [path.read_bytes() for path in again] == [svg.read_bytes(), content]


def test_ids_do_not_depend_on_the_figures_that_were_drawn_before():
    svg = (
        '<g clip-path="url(#clip{0})"/><g clip-path="url(#clip{1})"/><clipPath id="clip{0}"/>clip9'
    )
    assert numbered(svg.format(17, 18)) == svg.format(0, 1)


def test_the_page_gets_the_data_once_at_four_digits_and_no_title(figure):
    spec = page_spec(figure)
    assert json.dumps(spec).count("1.235") == 6 and "1.23456" not in json.dumps(spec)
    assert "title" not in spec and "empty" not in spec["data"]["values"][0]
    assert spec["config"]["axis"]["labelColor"] == "var(--ink)"
