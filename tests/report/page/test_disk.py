"""The disk as a page: what it shows on hover and by a search, and where the reader goes."""

import re

import pytest

from bench.report.embeddings_figures.disk import disk_page

HOSTILE = "</script><script>document.title='broken'</script>"
WORDS = 150

# The words are there, and the frame has its last size.
ROUND = """() => {
  const frame = document.querySelector(".plot path.background").getBoundingClientRect();
  const words = document.querySelectorAll(".mark-text text").length;
  return words > 50 && frame.width > 300 && Math.abs(frame.width - frame.height) < 1;
}"""


@pytest.fixture(scope="module")
def path(measurement, tmp_path_factory):
    """The page of some words of the committed study, three of them renamed."""
    study = measurement("embeddings")
    words = study["disk"]["words"] = study["disk"]["words"][:WORDS]
    for word in words:
        pairs = zip(word["relatives"], word["cosines"], strict=True)
        near = {place: cosine for place, cosine in pairs if place < WORDS}
        word |= {"relatives": list(near), "cosines": list(near.values())}
        word["parent"] = 0 if word["edge"] else None
    for word, text in zip(words, ("Quince", "Quinoa", HOSTILE), strict=False):
        word["text"] = text
    path = tmp_path_factory.mktemp("disk") / "disk.html"
    path.write_text(disk_page(study), encoding="utf-8")
    return path


@pytest.fixture
def disk(path, opened):
    """Open the page and wait for its words."""
    from contextlib import contextmanager

    @contextmanager
    def open_disk(**options):
        with opened(path, **options) as page:
            page.wait_for_selector(".plot svg")
            page.wait_for_function(ROUND)
            yield page

    return open_disk


def named(page):
    """The words that can be read."""
    return page.evaluate(
        """[...document.querySelectorAll(".mark-text text")]
        .filter((text) => Number(text.getAttribute("opacity") ?? 1) > 0.5)
        .map((text) => text.textContent)"""
    )


def test_words_are_never_markup(path, disk):
    assert "<script>document.title" not in path.read_text(encoding="utf-8")
    with disk() as page:
        page.fill("input[type=search]", "broken")
        page.wait_for_selector(".found button")
        assert page.inner_text(".found button") == HOSTILE
        assert page.title().startswith("tiny: ")


def test_a_word_shows_its_count_its_norm_and_its_relatives_on_hover(disk):
    with disk() as page:
        page.locator(".plot path[aria-label*='word: Quince']").hover(force=True)
        page.wait_for_selector("#vg-tooltip-element.visible")
        text = page.inner_text("#vg-tooltip-element")
        assert re.search(r"Quince.*occurrences\s+\d+.*norm\s+1\.\d+", text, re.DOTALL)
        assert len(re.findall(r"\w+ 0\.\d\d", text)) >= 3


def test_on_a_phone_it_is_round_and_fits_and_what_a_tap_shows_remains(disk):
    with disk(width=390, height=844, is_mobile=True, has_touch=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        frame = page.locator(".plot .mark-group path.background").first.bounding_box()
        assert frame["width"] == pytest.approx(frame["height"], abs=1)
        assert frame["width"] > 300
        word = page.locator(".plot path[aria-label*='word: Quince']")
        word.scroll_into_view_if_needed()
        place = word.bounding_box()
        page.touchscreen.tap(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        page.wait_for_function("document.querySelector('.facts').textContent.length > 20")
        assert re.match(r"\w+: \d+ occurrences, norm 1\.\d+\. Relatives", page.inner_text(".facts"))


def test_a_search_leaves_what_it_finds_and_a_click_goes_there(disk):
    with disk() as page:
        page.fill("input[type=search]", "QUIN")
        page.wait_for_selector(".found button")
        assert page.locator(".found button").all_inner_texts() == ["Quince", "Quinoa"]
        dim = page.locator(".plot path[aria-roledescription='circle'][opacity='0.12']")
        page.wait_for_function(
            "document.querySelectorAll('.mark-symbol path[opacity=\"0.12\"]').length > 50"
        )
        assert dim.count() > 50
        page.click(".found button >> text=Quinoa")
        page.wait_for_timeout(500)
        assert "Quinoa" in named(page) and not {"are", "has", "more"} & set(named(page))
        page.fill("input[type=search]", "nothing like it")
        page.wait_for_selector("text=No word in the figure contains this.")


def test_more_words_are_named_the_nearer_the_reader_is(disk):
    with disk() as page:
        before = len(named(page))
        page.click("[data-zoom='2']")
        page.click("[data-zoom='2']")
        page.wait_for_timeout(500)
        assert len(named(page)) > before
        page.click("[data-zoom='0']")
        page.wait_for_timeout(500)
        assert len(named(page)) == before


def test_another_theme_leaves_one_place_to_search_in(disk):
    with disk(color_scheme="dark") as page:
        page.click("button.theme")
        page.wait_for_timeout(1000)
        assert page.locator("input[type=search]").count() == 1
        page.fill("input[type=search]", "Quince")
        page.wait_for_selector(".found button >> text=Quince")
