import re

import pytest

from bench.report.page.shell import Chart, charts_page

PAPER = "getComputedStyle(document.body).backgroundColor"
LETTERS = "getComputedStyle(document.querySelector('.plot svg text')).fill"  # of a figure
HOSTILE = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    import altair as alt

    rows = [{"method": "LoRA", "seconds": 1, "accuracy": 2}, {"method": HOSTILE, "seconds": 2}]
    chart = alt.Chart(alt.Data(values=rows)).mark_point(filled=True, size=200)
    chart = chart.encode(x="seconds:Q", y="accuracy:Q", tooltip=["method:N", "seconds:Q"])
    spec = chart.properties(width="container", height=200).to_dict()
    path = tmp_path_factory.mktemp("page") / "charts.html"
    path.write_text(charts_page(HOSTILE, [Chart("Points", HOSTILE, spec)], [HOSTILE], [HOSTILE]))
    return path


def test_text_is_text_wherever_it_stands(path):
    text = path.read_text()
    assert "<script>document.title" not in text and "<img src=x" not in text


def test_a_figure_is_drawn_without_a_request(path, opened):
    with opened(path) as page:
        page.wait_for_selector(".plot svg")
        assert page.title() == HOSTILE


def test_a_value_is_told_on_hover(path, opened):
    with opened(path) as page:
        page.locator(".plot svg path[aria-label*='LoRA']").hover()
        page.wait_for_selector("#vg-tooltip-element.visible")
        assert "LoRA" in page.inner_text("#vg-tooltip-element")


def test_no_script_runs_that_was_not_put_in(path, opened, tmp_path):
    text = path.read_text().replace("</main>", "<script>document.title = 'run'</script></main>")
    changed = tmp_path / "changed.html"
    changed.write_text(text)
    with pytest.raises(AssertionError, match="Content Security Policy"), opened(changed) as page:
        page.wait_for_selector(".plot svg")
        assert page.title() == HOSTILE


def test_the_theme_is_the_systems_until_it_is_chosen(path, opened):
    with opened(path, color_scheme="dark") as page:
        page.wait_for_selector(".plot svg")
        dark, on_dark = page.evaluate(PAPER), page.evaluate(LETTERS)
        page.click("button.theme")
        light, on_light = page.evaluate(PAPER), page.evaluate(LETTERS)
        assert max(channels(dark)) < 60 < 200 < min(channels(light))
        assert max(channels(on_light)) < 120 < min(channels(on_dark))
        page.reload()
        assert page.evaluate(PAPER) == light


def channels(colour):
    return [int(number) for number in re.findall(r"\d+", colour)[:3]]
