"""The page in a browser: at a desk and on a phone."""

import pytest

from bench.report.collect import Collected
from bench.report.page.index import write_page
from bench.report.result import result_of

# By method, what it wrote for each problem of a set, and whether that is right.
WRITTEN = {
    "lora": [("7+2=9. So 9.", True), ("7+2=8. So 8.", False), ("12 apples.", False)],
    "hyplora": [("7+2=91. So 91.", False), ("7+2=9. So 9.", True), ("12 apples.", False)],
}


def predictions(run_id):
    method = "hyplora" if "hyplora" in run_id else "lora"
    return [
        {
            "task": task,
            "index": index,
            "question": f"{task} asks for <b>{('plums', 'pears', 'figs')[index]}</b>?",
            "text": text,
            "prediction": 9.0,
            "answer": "9",
            "correct": right,
            "reason": None,
        }
        for task in ("mawps", "SVAMP")
        for index, (text, right) in enumerate(WRITTEN[method])
    ]


@pytest.fixture(scope="module")
def report(collected, tmp_path_factory):
    return write_page(*collected(predictions=predictions), tmp_path_factory.mktemp("report"))


def listed(page):
    return page.locator(".case h4").all_inner_texts()


def wait_for_figures(page, count=2, scroll=False):
    plots = page.locator(".plot").all()
    assert len(plots) == count
    for plot in plots:
        if scroll:
            plot.scroll_into_view_if_needed()
        plot.locator("svg").first.wait_for(state="attached")


def names(page):
    return page.locator("table.grid").first.locator("tbody th").all_inner_texts()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_fails_overflows_or_runs_whatever_models_wrote(
    collected, hostile, tmp_path, opened, width
):
    long = hostile + "x" * 300
    with opened(write_page(*collected(long), tmp_path), width=width) as page:
        wait_for_figures(page, scroll=True)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("window.hit") is None
        assert page.locator(".case").first.inner_text().count("<script>window.hit = 1</script>") > 1


def test_pretraining_runs_have_their_figures(pretrained, tmp_path, opened):
    path = write_page([result_of(pretrained)], Collected(tables=(pretrained,)), tmp_path)
    with opened(path, width=390) as page:
        wait_for_figures(page, count=2, scroll=True)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert "HELM-D vs. LLaMA" in page.locator(".plot").first.inner_html()


def test_a_table_is_sorted_by_click_and_by_keyboard_and_brought_back(report, opened):
    with opened(report) as page:
        before = names(page)
        head = page.locator("table.grid").first.locator("thead th").first
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert names(page) == sorted(before, key=str.lower)
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert names(page) == sorted(before, key=str.lower, reverse=True)
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") is None and names(page) == before
        # Figures come largest first, and rows without one last.
        table = page.locator("table.grid").first
        table.locator("thead button", has_text="mawps").click()
        column = table.locator("thead th").all_inner_texts()
        place = next(i for i, text in enumerate(column) if text.startswith("mawps"))
        cells = table.locator(f"tbody td:nth-child({place + 1})").all_inner_texts()
        figures = [float(text.split()[0]) for text in cells if text != "-"]
        assert figures == sorted(figures, reverse=True)
        assert cells == sorted(cells, key=lambda text: text == "-")


def test_filters_show_both_directions_and_count_them(report, opened):
    with opened(report) as page:
        pills = page.locator(".pill").all_inner_texts()
        assert [" ".join(text.split()) for text in pills] == [
            "LoRA wrong, HypLoRA right 2",
            "LoRA right, HypLoRA wrong 2",
            "both right 0",
            "both wrong 2",
            "all 6",
        ]
        assert set(listed(page)) == {"mawps, problem 1", "SVAMP, problem 1"}
        page.locator(".pill input").first.focus()
        page.keyboard.press("ArrowRight")
        assert set(listed(page)) == {"mawps, problem 0", "SVAMP, problem 0"}
        page.locator("select[name=task]").select_option(label="SVAMP")
        assert listed(page) == ["SVAMP, problem 0"]
        page.locator("select[name=first]").select_option(label="HypLoRA")
        page.locator("select[name=second]").select_option(label="LoRA")
        assert listed(page) == ["SVAMP, problem 1"]


def test_search_finds_in_questions_and_in_answers(report, opened):
    with opened(report) as page:
        page.locator(".pill").last.click()
        search = page.locator("input[type=search]")
        search.fill("<B>FIGS</b>")
        assert set(listed(page)) == {"mawps, problem 2", "SVAMP, problem 2"}
        assert page.inner_text(".count") == "6 problems, 2 with “<B>FIGS</b>”."
        search.fill("2=91")
        assert set(listed(page)) == {"mawps, problem 0", "SVAMP, problem 0"}
        search.fill("nothing of this")
        assert listed(page) == [] and not page.locator(".more").is_visible()


def test_the_first_difference_is_marked_as_a_whole_word_in_both(report, opened):
    with opened(report) as page:
        page.locator(".pill").nth(1).click()
        first = page.locator(".case").first
        assert first.locator("mark").all_inner_texts() == ["9.", "91."]
        assert first.locator(".same").all_inner_texts() == ["7+2=", "7+2="]
        page.locator(".pill").nth(3).click()
        same = page.locator(".case").first
        assert same.locator("mark").count() == 0 and "the same text" in same.inner_text()


def test_the_contents_lead_to_every_section(report, opened):
    with opened(report, width=390) as page:
        contents = page.locator("details.contents")
        assert contents.get_attribute("open") is None
        contents.locator("summary").click()
        links = contents.locator("a").all()
        targets = [link.get_attribute("href").removeprefix("#") for link in links]
        assert targets == [s.get_attribute("id") for s in page.locator("main > section").all()]


def test_printed_it_has_all_figures_and_no_controls(report, opened):
    with opened(report) as page:
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        wait_for_figures(page)
        page.emulate_media(media="print")
        assert not page.locator("button.theme").is_visible()
        assert not page.locator(".contents").is_visible()
