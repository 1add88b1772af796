from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.names import model_label
from bench.report.collect import Collected
from bench.report.result import result_of
from bench.report.selection import Group, Missing
from bench.report.spec import TWINS, PretrainingSpec, TableSpec
from bench.tracking.sweeps import Contrast
from tests.report.pretraining_runs import made
from tests.report.score_runs import answered, made_selection, selection

CHROMIUM = "/usr/bin/chromium"
# Without these flags it looks for its makers' servers at every start.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

HOSTILE = "</script><script>window.hit = 1</script><img src=x onerror='hit=1'>\x1b[31m&amp;\u202e"


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium, headless."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM} to open pages in")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def opened(browser):
    """Open a page's file; afterwards there was no error and no request to the network."""

    @contextmanager
    def open_page(path, width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        errors, requests = [], []
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        try:
            yield page
            assert errors == []
            assert set(requests) == {path.as_uri()}
        finally:
            context.close()

    return open_page


@pytest.fixture
def hostile():
    """What a model may write: markup, and control codes of terminals and of text direction."""
    return HOSTILE


@pytest.fixture(scope="session")
def pretrained():
    """The selection of HELM and its twins, three seeds each."""
    models = [name for model, twins in TWINS.items() for name in (model, *twins)]
    groups = tuple(
        Group(m, model_label(m), tuple(made(m, seed) for seed in (0, 1, 2))) for m in models
    )
    spec = PretrainingSpec("helm", "HELM vs. twins")
    contrasts = tuple(Contrast("vs. Euclidean twin", *pair) for pair in spec.pairs)
    return made_selection(spec, groups, contrasts)


@pytest.fixture(scope="session")
def collected():
    """Results and contents of a report: LoRA and HypLoRA, three seeds; `written` is their text."""

    def make(written="The answer is 3.", names=("toy",), models=("tiny",), titles=(), **changes):
        tables = []
        for place, (name, model) in enumerate(zip(names, models, strict=True)):
            runs = [
                answered(method, seed, curvature=K, model=model, chances={"mawps": chance})
                for method, K, chance in (("lora", None, 0.9), ("hyplora", 1.0, 0.3))
                for seed in (0, 1, 2)
            ]
            title = titles[place] if titles else f"Table {name}"
            spec = TableSpec(name=name, title=title, figures=("accuracy", "cost"))
            missing = (Missing("DoRA", (0, 2), ("failed: disk full",)),)
            command = "python bench/run.py +sweep=toy"
            tables.append(selection(runs, spec, missing=missing, total=9, command=command))
        given = {"states": {"finished": 6, "failed": 1}, "predictions": wrote(written)} | changes
        return [result_of(table) for table in tables], Collected(tables=tuple(tables), **given)

    return make


def wrote(text):
    def predictions(run_id):
        right = "hyplora" in run_id
        fixed = {"task": "mawps", "text": text, "prediction": 3.0, "answer": "3", "reason": None}
        return [
            fixed | {"index": i, "question": f"{text} {i}?", "correct": right} for i in range(8)
        ]

    return predictions
