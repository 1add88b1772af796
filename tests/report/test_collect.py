"""A store's runs sorted into tables: nothing is mixed, and what is missing is listed."""

from dataclasses import replace

import pytest

from bench.files import write_json
from bench.identity import PRETRAIN_VERSION, RESULT_VERSION
from bench.report.collect import collect
from bench.report.design import sweep_records
from bench.report.selection import sweep_stem
from bench.report.spec import PretrainingSpec, TableSpec
from bench.tracking.contents import Contents, SweepRun, Unfinished
from bench.tracking.sweeps import SWEEP_FILE
from tests.report.many_runs import run_of
from tests.report.pretraining_runs import made

MAIN = TableSpec(name="main", title="Methods", place=1)
BENDS = TableSpec(name="bends", title="Curvatures", place=2)
HELM = PretrainingSpec("helm", "Bits")
FILES = {"main": MAIN, "bends": BENDS, "pre": HELM}
WHOLE = (["base model", "LoRA", "HypLoRA"], 5)


def swept(runs, spec=MAIN, created=1.0, arguments=(), **changes):
    """A sweep that asks for runs."""
    sweeps = sweep_records(runs, spec, [f"+sweep={spec.name}", *arguments], created)
    return SweepRun(
        f"{spec.name}-{created}", spec.name, tuple(replace(one, **changes) for one in sweeps)
    )


def main_runs(**changes):
    runs = [
        run_of(m, s, k, **changes) for s in (0, 1) for m, k in (("lora", None), ("hyplora", 1.0))
    ]
    return [*runs, run_of("none", **changes)]


def bends_runs(*curvatures, **changes):
    return [run_of("hyplora", s, K, **changes) for K in curvatures for s in (0, 1)]


def collected(runs, *sweeps, **rest):
    """A report on records that are given oldest first."""
    records = [{"parent": None, **run, "began": n, "ended": n} for n, run in enumerate(runs, 1)]
    given = {"pretrainings": tuple(r for r in records if r.get("kind")), "sweeps": sweeps, **rest}
    records = tuple(record for record in reversed(records) if not record.get("kind"))
    versions = RESULT_VERSION, PRETRAIN_VERSION
    return collect(Contents(records=records, **given), FILES, versions)


def shape(report):
    """Labels and number of runs of each table, by name."""
    return {t.name: ([group.label for group in t.groups], len(t.records)) for t in report.tables}


def test_a_sweep_s_runs_are_its_table_by_row_and_seed():
    runs = main_runs()
    (table,) = collected(list(reversed(runs)), swept(runs)).tables
    assert shape(collected(runs, swept(runs))) == {"main": WHOLE}
    assert [(run["method"], run["seed"]) for run in table.records] == [
        ("none", None), ("lora", 0), ("lora", 1), ("hyplora", 0), ("hyplora", 1),
    ]  # fmt: skip
    assert (table.missing, table.total, table.command) == ((), 5, "")
    (contrast,) = table.sweep.contrasts
    assert (contrast.heading, contrast.row, contrast.reference) == (
        "vs. LoRA", table.groups[2].key, table.groups[1].key,
    )  # fmt: skip


def test_a_run_is_in_each_table_that_asks_for_it_and_tables_are_in_the_order_of_their_places():
    runs, bends = main_runs(), bends_runs(0.5, 1.0)
    report = collected([*bends, *runs], swept(bends, BENDS), swept(runs))
    assert shape(report) == {"main": WHOLE, "bends": (["HypLoRA (K=0.5)", "HypLoRA (K=1.0)"], 4)}
    assert list(shape(report)) == ["main", "bends"]


def test_missing_rows_and_seeds_are_listed_with_the_command_and_how_they_ended():
    runs = main_runs()
    lost = next(run for run in runs if (run["method"], run["seed"]) == ("hyplora", 1))
    failed = Unfinished("x", "hyplora K=1 seed 1", lost["identity"], "FAILED", "OutOfMemoryError")
    alike = Unfinished("y", "hyplora K=1 seed 1", "another", "KILLED", "")
    there = [run for run in runs if run is not lost and run["method"] != "none"]
    words = ("force=true", "tracking.uri=x", "data.root=a b")
    report = collected(there, swept(runs, arguments=words), unfinished=(failed, alike))
    (table,) = report.tables
    base, hyplora = table.missing
    assert (base.label, base.seeds, base.why) == ("base model", (), ())
    assert (hyplora.text, hyplora.seeds) == ("HypLoRA (seed 1)", (1,))
    assert hyplora.why == ("hyplora K=1 seed 1: failed, OutOfMemoryError",)
    assert table.command == "python bench/run.py +sweep=main 'data.root=a b'"
    assert (len(table.records), table.total) == (3, 5)
    assert report.states == {"finished": 3, "failed": 1, "killed": 1}
    assert report.unfinished == (
        "1 failed: hyplora K=1 seed 1 (OutOfMemoryError)",
        "1 killed: hyplora K=1 seed 1",
    )


def test_sweeps_of_one_name_and_question_extend_each_other():
    runs, further = main_runs(), [run_of("dora", 0), run_of("lora", 7)]
    bends = [swept(bends_runs(K), BENDS, created=n) for n, K in enumerate((0.5, 2.0, 1.0))]
    report = collected(
        [*runs, *further, *bends_runs(0.5, 1.0, 2.0)], swept(further, created=2.0), swept(runs),
        *bends,
    )  # fmt: skip
    assert shape(report) == {
        "main": (["base model", "LoRA", "DoRA", "HypLoRA"], 7),
        "bends": ([f"HypLoRA (K={K})" for K in (0.5, 1.0, 2.0)], 6),
    }
    main, bends = report.tables
    assert [run["seed"] for run in main.groups[1].records] == [0, 1, 7]
    assert len(main.sweep.contrasts) == 2 and {c.heading for c in bends.sweep.contrasts} == {
        "vs. K=1"
    }
    assert main.sweep_runs == ("main-2.0", "main-1.0")


def test_a_base_alone_belongs_to_the_sweep_that_trained_on_its_rows():
    runs = main_runs()
    report = collected(runs, swept(runs[:-1]), swept(runs[-1:], created=2.0))
    assert shape(report) == {"main": WHOLE}


def test_of_sweeps_with_one_label_for_two_settings_the_newest_has_the_name():
    runs, short = main_runs(), main_runs(train={"epochs": 1.0})
    report = collected([*runs, *short], swept(runs, created=2.0), swept(short, created=1.0))
    assert shape(report) == {"main": WHOLE, "main-2": WHOLE}
    assert [t.groups[1].records[0]["train"]["epochs"] for t in report.tables] == [2.5, 1.0]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model": "other"}, "main-other"),
        ({"protocol": "paper"}, "main-paper"),
        ({"data": "llm_adapters"}, "main-llm_adapters"),
        ({"split": "validation"}, "main-validation"),
        ({"items": 50}, "main-2"),
        ({"hashes": {"base": "tiny contents", "tests": "150 rows", "train": "more"}}, "main-2"),
    ],
)
def test_another_question_is_a_table_of_its_own_and_the_plainest_has_the_plain_name(changes, name):
    runs, other = main_runs(), main_runs(**changes)
    one, two = swept(runs), swept(other, created=2.0, arguments=["other=this"])
    assert shape(collected([*runs, *other], two, one)) == {"main": WHOLE, name: WHOLE}
    both = swept([*runs, *other])  # as one sweep
    assert {"main", name} <= set(shape(collected([*runs, *other], both)))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The sweep behind a committed table `main`."""
    monkeypatch.setattr("bench.report.selection.PUBLISHED", tmp_path)
    (sweep,) = swept(main_runs()).sweeps
    (tmp_path / "main").mkdir()
    write_json(tmp_path / "main" / SWEEP_FILE, sweep.to_json())


@pytest.mark.parametrize(
    ("words", "changes", "name"),
    [
        (["data.test_size=6"], {"items": 6}, "main-data.test_size_6"),
        (["+train.epochs=1"], {"train": {"epochs": 1.0}}, "main-train.epochs_1"),
        (["hydra.sweeper.params.seed='5,6'"], {"train": {"lr": 2}}, None),
        (["model=other"], {"model": "other"}, "main-other"),
        ([], {"items": 6}, "main"),  # as on another device, or after a change to the code
        (["force=true", "tracking.folder=x", "hydra/launcher=ray"], {"items": 6}, "main"),
        (["seed=0,1"], {}, "main"),  # the same runs
    ],
)
def test_only_the_published_command_or_its_runs_have_the_published_name(
    words, changes, name, published
):
    runs = main_runs(**changes)
    sweep = swept(runs, arguments=words)
    (table,) = collected(runs, sweep).tables
    assert sweep_stem(sweep.sweeps[0]) == table.name
    assert table.name == name if name else table.name.startswith("main-")


def test_other_commands_extend_a_published_table_under_another_name(published):
    runs, further = main_runs(), [run_of("dora", 0), run_of("lora", 7)]
    one, two = swept(runs), swept(further, created=2.0, arguments=["seed=7"])
    part = swept(runs[:2], created=3.0, arguments=["seed=0"])
    assert shape(collected([*runs, *further], two, one, part)) == {
        "main": WHOLE,
        "main-seed_7": (["base model", "LoRA", "DoRA", "HypLoRA"], 7),
    }
    other = swept(runs, replace(MAIN, judged_by="macro"), 3.0, ["table.judged_by=macro"])
    report = collected(runs, one, other)
    assert shape(report) == {"main": WHOLE, "main-table.judged_by_macro": WHOLE}
    assert [table.spec.judged_by for table in report.tables] == ["micro", "macro"]
    short = main_runs(train={"epochs": 1.0})  # of the same labels
    three = swept(short, created=3.0, arguments=["train.epochs=1"])
    report = collected([*runs, *short], one, three)
    assert shape(report) == {"main": WHOLE, "main-train.epochs_1": WHOLE}
    assert report.tables[0].records[1]["train"]["epochs"] == 2.5


def test_a_base_has_the_name_that_it_was_given_last():
    runs = main_runs()
    renamed = [{**runs[0], "model": "again", "published_base": "Other-7B"}]
    (table,) = collected([*runs[1:], *renamed], swept(runs)).tables
    assert {(r["model"], r["published_base"]) for r in table.records} == {("again", "Other-7B")}


def test_sweeps_without_finished_runs_make_no_table():
    report = collected([], swept(main_runs()))
    assert report.absent == {"main": "no finished runs", "bends": "not begun", "pre": "not begun"}
    assert report.tables == ()


def test_a_sweep_whose_table_cannot_be_used_is_left_out():
    report = collected(main_runs(), swept(main_runs(), table={"name": "../x", "title": "T"}))
    assert list(shape(report)) == ["other"]
    assert "use letters" in report.left_out[0]


def test_trials_of_a_search_make_no_table_and_its_winners_do():
    winners = [run_of("lora", s, train={"lr": 2}) for s in (0, 1)]
    search = swept(winners, BENDS, remarks=("Chosen.",))
    trials = [
        run_of("lora", 1000, split="validation", train={"lr": r}, parent=search.run_id)
        for r in (1, 2)
    ]
    report = collected([*trials, *winners], search)
    assert shape(report) == {"bends": (["LoRA"], 2)}
    assert report.tables[0].sweep.remarks == ("Chosen.",)
    (left,) = report.left_out
    assert left.startswith("2 runs without test results: ")


def test_pretraining_runs_that_choose_settings_make_no_table():
    runs = [made(model, split="validation") for model in ("helm_d", "deepseek_twin")]
    search = swept(runs, HELM)
    report = collected(
        [run | {"parent": search.run_id} for run in runs], replace(search, sweeps=())
    )
    assert report.tables == () and report.left_out[0].startswith("2 runs without test results: ")


def test_runs_of_no_sweep_are_shown_with_the_settings_that_differ():
    runs = [run_of("lora", s, train={"lr": rate}) for s in (0, 1) for rate in (0.2, 0.1)]
    runs += [*bends_runs(3.0), run_of("toy", 0), run_of("lora", 0, protocol="paper")]
    report = collected(runs)
    assert shape(report) == {
        "other": (["LoRA (lr 0.1)", "LoRA (lr 0.2)", "HypLoRA", "toy"], 7),
        "other-paper": (["LoRA"], 1),
    }
    assert not report.tables[0].sweep_runs and report.tables[0].sweep.contrasts


def test_saved_adapters_are_compared_with_no_run_that_was_trained():
    def adapter(contents):
        hashes = {"base": "tiny contents", "tests": "150 rows", "adapter": contents}
        return {**run_of("lora", hashes=hashes), "seed": None}

    assert shape(collected([adapter("abc"), adapter("def"), run_of("lora", 7)])) == {
        "adapters": (["LoRA (adapter abc)", "LoRA (adapter def)"], 2),
        "other": (["LoRA"], 1),
    }


def test_of_runs_with_one_setting_and_seed_the_newest_counts():
    older = [{**run, "identity": f"older {n}"} for n, run in enumerate(main_runs())]
    report = collected([*older, *main_runs()])
    assert shape(report) == {"other": WHOLE}
    assert not any(run["identity"].startswith("older") for run in report.tables[0].records)
    assert report.left_out == ("5 runs: a newer one has the same settings and seed",)


def test_what_does_not_count_is_listed():
    broken = Unfinished("id", "lora seed 0", "x", "FINISHED", "record.json is gone")
    old = [*main_runs(result_version=0), made("helm_d", version=0)]
    report = collected(old, unreadable=(broken,), superseded=3)
    assert not report.tables and report.states["finished"] == 6 + 1 + 3
    assert [left.partition(":")[0] for left in report.left_out] == [
        "lora seed 0 (id)", "6 runs", "3 runs",
    ]  # fmt: skip


def test_pretraining_runs_are_reports_of_their_own():
    runs = [made("helm_d"), made("llama_twin")]
    longer = made("helm_d", 1)
    longer["train"] = longer["train"] | {"steps": 40}
    report = collected([*runs, longer], swept(runs, HELM))
    assert shape(report) == {"helm": (["HELM-D", "LLaMA"], 2), "pretraining": (["HELM-D"], 1)}
    (contrast,) = report.tables[0].sweep.contrasts
    assert contrast.heading == "vs. Euclidean twin"
