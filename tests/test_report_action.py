"""action=report from the command line: from a store, tables and a summary."""

import json
import re
import resource
import shutil
import subprocess
import sys

import pytest

from bench.report.action import sweep_files
from bench.report.design import sweep_records
from bench.tracking.store import Store
from tests.helpers import refused
from tests.report.many_runs import EXPERIMENT, made_up, run_of, write_runs

METHODS = ("none", "prefix", "series", "parallel", "lora", "dora")


def table2_runs(seeds=(0, 1, 2), **changes):
    rows = [(method, None) for method in METHODS] + [("hyplora", 1.0)]
    runs = [run_of(m, s, k, **changes) for s in seeds for m, k in rows]
    return list({run["identity"]: run for run in runs}.values())


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store with the arithmetic table's runs on a base of the paper, and some others."""
    folder = tmp_path_factory.mktemp("kept") / "results"
    paper = {"published_base": "LLaMA3-8B"}
    on_paper = table2_runs(protocol="paper", **paper)
    records = [*table2_runs(**paper), *on_paper[:7], *(run_of("toy", s, **paper) for s in (0, 1))]
    write_runs(folder, records)
    store = Store(folder, None, EXPERIMENT)
    for words, runs in (((), records[:19]), (("protocol=paper", "seed=0,1,2"), on_paper)):
        sweeps = sweep_records(runs, sweep_files()["table2"], ("+sweep=table2", *words), len(words))
        store.keep_sweeps(store.sweep(f"sweep-{len(words)}", "table2", {}), sweeps)
    failed = store.start(on_paper[7]["identity"], "prefix seed 1", {})
    store.fail(failed, "FAILED", "MemoryError: 2 GiB")
    return folder


@pytest.fixture
def results(kept, tmp_path):
    """A copy of that store."""
    folder = shutil.copytree(kept, tmp_path / "results")
    _ = Store(folder, None, EXPERIMENT)  # records the new place of the files
    return folder


def without_progress(text):
    """The lines of an output, less those that a slow machine gets now and then."""
    return [line for line in text.splitlines() if not re.search(r": \w+ \d+/\d+", line)]


def test_a_report_says_what_it_made_what_is_missing_and_what_failed(inline, results, sketched):
    done = inline("action=report", "action.figures=1", results=results)
    assert done.code == 0, done.stderr
    lines = without_progress(done.stdout)
    assert lines[:2] == [
        "2 tables without figures; action.figures=3 draws them",
        "runs: 28 finished, 1 failed",
    ]
    place = f"tracking.folder={results}"
    for line in (
        "table2: Arithmetic reasoning, 19 of 19 runs in 7 rows, tiny, synthetic, fast",
        "table2-paper: Arithmetic reasoning, 7 of 19 runs in 7 rows, tiny, synthetic, paper",
        "  missing: LoRA (seeds 1, 2)",
        "  missing: Prefix (seeds 1, 2); prefix seed 1: failed, MemoryError: 2 GiB",
        f"    python bench/run.py +sweep=table2 protocol=paper seed=0,1,2 {place}",
        "other: Other runs, 2 of 2 runs in 1 row, tiny, synthetic, fast",
        f"no table ablation: not begun; make reproduce-ablation ARGS={place}",
        "unfinished: 1 failed: prefix seed 1 (MemoryError: 2 GiB)",
    ):
        assert line in lines
    names = {path.name for path in (results / "tables").iterdir()}
    made, ends = ("table2", "table2-paper", "other"), ("md", "csv", "json", "tex")
    assert names == {f"{table}.{end}" for table in made for end in ends}
    figures = {path.name for path in (results / "figures").iterdir()}
    drawn = ("accuracy", "differences", "cost", "training")
    assert figures == {f"table2_{name}.{end}" for name in drawn for end in ("svg", "png")}
    folders = [results / name for name in ("tables", "figures", "report")]
    count = len(names) + len(figures) + 1
    assert lines[-1] == f"{count} files -> {', '.join(map(str, folders))}"
    page = (results / "report" / "index.html").read_text()
    assert all(f'<section id="table-{name}">' in page for name in ("table2", "other"))


def test_a_report_makes_the_files_of_a_sweep_again_from_the_store_alone(
    inline, small, tmp_path, sketched
):
    sweep = ("+sweep=curvature", "seed=0", "curvature=0.5,1", "hydra/launcher=basic", *small)
    swept = inline(*sweep)
    assert swept.code == 0, swept.stderr
    results = tmp_path / "results"
    folders = ("tables", "figures")
    before = {p: p.read_bytes() for folder in folders for p in (results / folder).iterdir()}
    (table,) = (results / "tables").glob("*.md")
    assert table.stem.startswith("curvature-")  # not the name of the published one
    assert f"{table.stem}_search.svg" in {path.name for path in before}
    assert str(table) in swept.stdout
    for folder in (*folders, "runs"):
        shutil.rmtree(results / folder)
    (results / "optuna.db").unlink()
    done = inline("action=report")
    assert done.code == 0, done.stderr
    after = {p: p.read_bytes() for folder in folders for p in (results / folder).iterdir()}
    assert after.keys() == before.keys()
    assert [path.name for path in after if after[path] != before[path]] == []
    line = f"{table.stem}: HypLoRA over the curvature parameter, 2 of 2 runs in 2 rows"
    assert line in done.stdout


@pytest.mark.slow
def test_a_report_changes_nothing_in_the_store_and_two_may_be_made_at_once(results):
    before = (results / "mlflow.db").read_bytes()
    command = [sys.executable, "bench/run.py", "action=report", "action.figures=0"]
    command.append(f"tracking.folder={results}")
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=280)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert without_progress(printed[0]) == without_progress(printed[1])
    assert (results / "mlflow.db").read_bytes() == before
    assert not list(results.rglob("*.partial"))
    assert json.loads((results / "tables" / "table2.json").read_text())["name"] == "table2"


def test_without_runs_a_report_says_what_to_run_and_writes_nothing(inline, tmp_path):
    done = inline("action=report")
    assert done.code == 0 and "no runs to report on" in done.stdout
    assert "make reproduce-table2" in done.stdout
    assert not (tmp_path / "results").exists()
    Store(tmp_path / "results", None, EXPERIMENT)
    done = inline("action=report")
    assert done.code == 0 and f"the experiment {EXPERIMENT} has none" in done.stdout
    assert not (tmp_path / "results" / "tables").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tracking.uri=http://127.0.0.1:9",), "can't be opened: [Errno 111] Connection refused"),
        (("tracking.experiment=hyplora-bnech",), "Did you mean hyplora-bench"),
        (("action.show=perhaps",), "action.show must be true or false"),
        (("action.figures=-1",), "must not be negative"),
    ],
)
def test_a_report_on_what_is_not_there_is_refused(inline, kept, arguments, message):
    refused(inline("action=report", *arguments, results=kept), message)
    assert not (kept / "tables").exists()


@pytest.mark.slow
def test_five_thousand_runs_take_less_than_two_minutes_and_two_gib(tmp_path):
    write_runs(tmp_path / "results", made_up(5000))
    command = [sys.executable, "bench/run.py", "action=report"]
    command.append(f"tracking.folder={tmp_path / 'results'}")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of a processor, so that the machine may do other things meanwhile.
    assert used.ru_utime + used.ru_stime < 120 and used.ru_maxrss < 2 * 2**20
