"""What every page does, whatever is on it."""

import re

import pytest

from bench.report.page.index import write_page

PAPER = "getComputedStyle(document.body).backgroundColor"
LETTERS = "getComputedStyle(document.querySelector('.plot svg text')).fill"  # of a figure


@pytest.fixture(scope="module")
def path(collected, tmp_path_factory):
    return write_page(*collected(), tmp_path_factory.mktemp("page"))


def test_values_are_shown_on_hover_without_a_request(path, opened):
    with opened(path) as page:
        page.locator(".plot svg path[aria-roledescription='tick']").first.hover()
        page.wait_for_selector("#vg-tooltip-element.visible")
        assert "LoRA" in page.inner_text("#vg-tooltip-element")


def test_no_script_runs_that_was_not_put_in(path, opened, tmp_path):
    text = path.read_text().replace("</main>", "<script>document.title = 'run'</script></main>")
    changed = tmp_path / "changed.html"
    changed.write_text(text)
    with pytest.raises(AssertionError, match="Content Security Policy"), opened(changed) as page:
        page.wait_for_selector(".plot svg")
        assert page.title() != "run"


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
