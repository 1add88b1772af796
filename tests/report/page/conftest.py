import dataclasses
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.report import TableSpec, build
from bench.report.collected import Collected, CollectedPretraining, CollectedTable, Missing
from bench.report.pretraining import PretrainingSpec
from bench.report.statistics import BesideReference, PairedDifference
from tests.report.pretraining_runs import made

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
    """Open a page's file; afterwards no error was told and nothing was asked of the network."""

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
    """What a model may write: markup, and codes that steer a terminal or turn text around."""
    return HOSTILE


@pytest.fixture
def pretrained():
    """HELM and its twins, three seeds each, as one report of a store."""
    models = ("helm_d", "llama_twin", "helm_mice", "deepseek_twin")
    records = [made(model, seed) for seed in (0, 1, 2) for model in models]
    return CollectedPretraining(PretrainingSpec("helm", "HELM beside twins"), tuple(records))


@pytest.fixture
def collected(record):
    """Two methods, three seeds, and whatever `written` says they wrote."""

    def make(written="The answer is 3.", names=("toy",), models=("tiny",), **changes):
        tables = []
        for name, model in zip(names, models, strict=True):
            runs = [
                record(method, seed=seed, curvature=curvature, model=model, training={})
                for method, curvature in (("lora", None), ("hyplora", 1.0))
                for seed in (0, 1, 2)
            ]
            spec = TableSpec(name=name, title=f"Table {name}", figures=("accuracy", "cost"))
            table = dataclasses.replace(build(runs, spec), beside=(BESIDE,))
            missing = (Missing("DoRA", (0, 2), "make reproduce-toy", ("failed: disk full",)),)
            tables.append(CollectedTable(name, spec, tuple(runs), table, None, missing, 9))
        given = {"states": {"finished": 6, "failed": 1}, "predictions": wrote(written)} | changes
        return Collected(tables=tuple(tables), **given)

    return make


BESIDE = BesideReference(
    "lora",
    "Beside LoRA",
    (PairedDifference("hyplora", 1.0, "HypLoRA", "LoRA", "micro", "worse", -2.0, -3.0, -1.0),),
)


def wrote(text):
    def predictions(run_id):
        right = "hyplora" in run_id
        fixed = {"task": "mawps", "text": text, "prediction": 3.0, "answer": "3", "reason": None}
        return [
            fixed | {"index": i, "question": f"{text} {i}?", "correct": right} for i in range(8)
        ]

    return predictions
