"""A store's runs sorted into tables: nothing is mixed, and what is missing is told."""

import pytest

from bench.identity import RESULT_VERSION
from bench.report.collect import collect
from bench.report.grid import Grid, GridRow
from bench.report.pretraining import PretrainingSpec
from bench.report.spec import TableSpec
from bench.tracking.holdings import Holdings, SweepRun, Unfinished, Unreadable
from tests.report.many_runs import SETS, run_of
from tests.report.pretraining_runs import made

SPECS = {
    "main": TableSpec(name="main", title="Methods", place=1),
    "bends": TableSpec(name="bends", title="Curvatures"),
    "layers": TableSpec(
        name="layers",
        title="Layers",
        apart={"target_modules": {"down_proj alone": ["down_proj"]}},
    ),
    "tuned": TableSpec(name="tuned", title="Winners"),
}


def row(method, curvature=None, **options):
    """What a sweep's runs of a method are: as `run_of` makes them."""
    run = run_of(method, 0, curvature, options=dict(options))
    train = {k: v for k, v in run["train"].items() if k != "precision"}
    words = (f"method={method}", *([f"curvature={curvature}"] if curvature else []))
    return GridRow(
        method, method != "none", words, run["options"], train if run["seed"] == 0 else {}
    )


def grid(sweep, *rows, seeds=(0, 1), preset="default", base="tiny"):
    return Grid(
        sweep=sweep, spec=SPECS[sweep], preset=preset, base=base, model="tiny", data="synthetic",
        protocol="fast", tests=tuple(SETS), rows=rows, seeds=seeds, seeds_first=True,
    )  # fmt: skip


GRIDS = [
    grid("main", row("lora"), row("hyplora", 1.0), row("none")),
    grid("bends", row("hyplora", 0.5), row("hyplora", 1.0)),
    grid("layers", row("lora"), row("lora", target_modules=["down_proj"])),
    grid("tuned"),
]
SWEEPS = {name: SweepRun(f"sweep-{name}", name, "FINISHED", 1) for name in SPECS}


def command(grid, row, seeds, like):
    return " ".join([grid.sweep, *(row.arguments if row else ()), *map(str, seeds)])


def collected(*records, grids=GRIDS, sweeps=None, version=RESULT_VERSION, pretraining=None, **rest):
    """A report on records that are given oldest first."""
    made = [{**record, "ended": number} for number, record in enumerate(records)]
    holdings = Holdings(
        records=tuple(reversed(made)), sweeps=tuple((sweeps or SWEEPS).values()), **rest
    )
    return collect(
        holdings, SPECS, grids, {}, command, version, lambda run_id: (), pretraining or {}
    )


def of(sweep, *runs):
    """Runs as a sweep's children."""
    return [{**run, "parent": f"sweep-{sweep}"} for run in runs]


def main_runs(**changes):
    runs = [
        run_of(m, s, k, **changes) for s in (0, 1) for m, k in (("lora", None), ("hyplora", 1.0))
    ]
    return of("main", *runs, run_of("none", **changes))


def shape(report):
    """Name, labels and number of runs of each table."""
    return {t.name: ([r.label for r in t.table.rows], len(t.records)) for t in report.tables}


WHOLE = (["base model", "LoRA", "HypLoRA"], 5)


def test_a_sweep_s_runs_are_its_table_in_its_order():
    report = collected(*reversed(main_runs()))
    assert shape(report) == {"main": WHOLE}
    (table,) = report.tables
    assert [(run["method"], run["seed"]) for run in table.records] == [
        ("lora", 0), ("hyplora", 0), ("none", None), ("lora", 1), ("hyplora", 1),
    ]  # fmt: skip
    assert (table.missing, table.total, table.command) == ((), 5, "")
    assert not any("Not complete" in note for note in table.table.notes)


def test_a_run_stands_in_each_table_that_asks_for_it():
    bends = of("bends", run_of("hyplora", 0, 0.5), run_of("hyplora", 1, 0.5))
    report = collected(*main_runs(), *bends)
    assert shape(report) == {
        "bends": (["HypLoRA (K=0.5)", "HypLoRA (K=1.0)"], 4),
        "main": WHOLE,
    }


def test_tables_stand_in_the_order_of_their_places():
    bends = of("bends", run_of("hyplora", 0, 0.5), run_of("hyplora", 1, 0.5))
    assert [table.name for table in collected(*bends, *main_runs()).tables] == ["main", "bends"]


def test_a_few_runs_that_belong_to_another_table_make_none_of_their_own():
    report = collected(*main_runs())
    assert report.absent == {
        "bends": "2 of its 4 runs are there, in other tables",
        "layers": "2 of its 4 runs are there, in other tables",
        "tuned": "no runs",
    }


def test_missing_rows_and_seeds_are_told_with_the_command_that_makes_them():
    runs = [r for r in main_runs() if (r["method"], r["seed"]) != ("hyplora", 1)]
    failed = Unfinished("x", "hyplora K=1 seed 1", "i", "FAILED", "OutOfMemoryError: 2 GiB")
    other = Unfinished("y", "lora seed 7", "j", "KILLED", "")
    report = collected(*[r for r in runs if r["method"] != "none"], unfinished=(failed, other))
    (table,) = report.tables
    hyplora, none = table.missing
    assert (hyplora.label, hyplora.seeds) == ("HypLoRA", (1,))
    assert hyplora.command == "main method=hyplora curvature=1.0 1"
    assert hyplora.why == ("hyplora K=1 seed 1: failed, OutOfMemoryError: 2 GiB",)
    assert (none.label, none.seeds, none.why) == ("base model", (), ())
    assert (len(table.records), table.total, table.command) == (3, 5, "main")
    assert table.table.notes[0] == (
        "Not complete: 3 of 5 runs are there. Missing: HypLoRA (seed 1); base model."
    )
    assert report.states == {"finished": 3, "failed": 1, "killed": 1}
    assert report.unfinished == (
        "1 failed: hyplora K=1 seed 1 (OutOfMemoryError: 2 GiB)",
        "1 killed: lora seed 7",
    )


def test_one_seed_alone_makes_a_table():
    report = collected(*[run for run in main_runs() if run["seed"] in (0, None)])
    (table,) = report.tables
    assert [m.seeds for m in table.missing] == [(1,), (1,)]
    assert all(row.cells["mawps"].sd is None for row in table.table.rows)


def test_more_seeds_than_the_file_has_count():
    more = of("main", run_of("lora", 7))
    (table,) = collected(*main_runs(), *more).tables
    assert (len(table.records), table.total) == (6, 6)
    assert table.table.rows[1].seeds == (0, 1, 7)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"protocol": "paper"}, "main-paper"),
        ({"data": "llm_adapters"}, "main-llm_adapters"),
        ({"split": "validation"}, "main-validation"),
        ({"items": 50}, "main-2"),
        ({"hashes": {"base": "tiny contents", "tests": "150 rows", "train": "more"}}, "main-2"),
    ],
)
def test_runs_that_answer_another_question_are_a_table_of_their_own(changes, name):
    report = collected(*main_runs(**changes), *main_runs())
    assert shape(report) == {"main": WHOLE, name: WHOLE}
    for table in report.tables:
        assert table.table.notes == report.tables[0].table.notes


def test_bases_have_tables_of_their_own_also_where_one_goes_by_two_names():
    other = [{**r, "published_base": "Other-7B"} for r in main_runs(model="other")]
    renamed = [{**r, "model": "again"} for r in other[:2]]
    grids = [*GRIDS, *(grid("main", *GRIDS[0].rows, base=base) for base in ("other", "again"))]
    report = collected(*other[2:], *renamed, *main_runs(), grids=grids)
    assert {name: runs for name, (_, runs) in shape(report).items()} == {"main": 5, "main-again": 5}
    assert {table.table.published_base for table in report.tables} == {None, "Other-7B"}


def test_a_sweep_that_was_run_with_other_training_settings_is_found_by_what_they_share():
    short = {"train": {"epochs": 1.0}}
    report = collected(*main_runs(**short), *main_runs())
    assert {name: runs for name, (_, runs) in shape(report).items()} == {"main": 5, "main-2": 5}
    assert [t.table.rows[1].train["epochs"] for t in report.tables] == [2.5, 1.0]


def test_presets_are_told_apart_and_share_what_they_share():
    wide = {"options": {"lora_alpha": 64}}
    grids = [
        *GRIDS,
        grid("main", row("lora"), row("hyplora", 1.0, lora_alpha=64), row("none"), preset="equal"),
    ]
    again = of("main", run_of("hyplora", 0, 1.0, **wide), run_of("hyplora", 1, 1.0, **wide))
    report = collected(*main_runs(), *again, grids=grids)
    assert shape(report) == {"main": WHOLE, "main-train_equal": WHOLE}


def test_what_a_sweep_was_given_on_the_command_line_is_found_by_the_table_that_it_left():
    narrow = {"options": {"r": 8}}
    runs = of("main", *(run_of("lora", s, **narrow) for s in (0, 1)), run_of("toy", 0))
    swept = SweepRun("s", "main", "FINISHED", 2, ("As told.",), tuple(r["identity"] for r in runs))
    report = collected(*main_runs(), *runs, sweeps={"s": swept} | SWEEPS)
    assert shape(report) == {"main": WHOLE, "main-2": (["LoRA", "toy"], 3)}
    assert report.tables[1].table.notes[0] == "As told." and report.tables[1].swept_by == "s"


@pytest.mark.parametrize(("status", "note"), [("FINISHED", False), ("FAILED", True)])
def test_a_part_that_a_sweep_was_asked_for_is_complete_where_none_failed(status, note):
    runs = [run for run in main_runs() if run["method"] == "lora"]
    swept = SweepRun("s", "main", status, 2, (), tuple(run["identity"] for run in runs))
    (table,) = collected(*runs, sweeps={"s": swept}).tables
    assert any("Not complete" in line for line in table.table.notes) == note
    assert [missing.label for missing in table.missing] == ["HypLoRA", "base model"]


def test_the_winners_of_a_search_are_a_table_and_its_trials_are_none():
    trials = of(
        "tuned", *(run_of("lora", 1000, split="validation", train={"lr": r}) for r in (1, 2))
    )
    winners = of("tuned", *(run_of("lora", s, train={"lr": 2}) for s in (0, 1)))
    swept = SweepRun(
        "sweep-tuned", "tuned", "FINISHED", 2, (), tuple(r["identity"] for r in winners)
    )
    report = collected(*trials, *winners, sweeps={"tuned": swept})
    assert shape(report) == {"tuned": (["LoRA"], 2)}
    (left,) = report.left_out
    assert (left.runs, left.what) == (2, "runs on validation rows")


def test_a_grid_of_one_s_own_is_shown_with_what_tells_its_rows_apart():
    runs = [run_of("lora", s, train={"lr": rate}) for s in (0, 1) for rate in (0.1, 0.2)]
    runs += [run_of("hyplora", s, 3.0) for s in (0, 1)]
    report = collected(*runs)
    assert shape(report) == {"other": (["LoRA (lr 0.1)", "LoRA (lr 0.2)", "HypLoRA"], 6)}
    assert report.tables[0].sweep is None


def test_a_method_that_this_version_does_not_know_is_shown_by_its_key():
    assert shape(collected(run_of("toy", 0), run_of("toy", 1))) == {"other": (["toy"], 2)}


def test_saved_adapters_are_rows_of_their_own_beside_no_run_that_was_trained():
    def adapter(contents):
        hashes = {"base": "tiny contents", "tests": "150 rows", "adapter": contents}
        return {**run_of("lora", hashes=hashes), "seed": None}

    report = collected(adapter("abc"), adapter("def"), run_of("lora", 7, train={"lr": 1}))
    assert shape(report) == {
        "adapters": (["LoRA (adapter abc)", "LoRA (adapter def)"], 2),
        "other": (["LoRA"], 1),
    }


def test_of_runs_with_one_setting_and_seed_the_newest_counts():
    older = [{**run, "identity": f"older {n}"} for n, run in enumerate(main_runs())]
    report = collected(*older, *main_runs())
    assert shape(report) == {"main": WHOLE}
    assert not any(run["identity"].startswith("older") for run in report.tables[0].records)
    assert [(left.runs, left.why) for left in report.left_out] == [
        (5, "a newer one has the same settings and seed")
    ]


def test_results_of_another_version_of_the_code_are_left_out():
    report = collected(*main_runs(), version=RESULT_VERSION + 1)
    assert not report.tables
    assert [left.runs for left in report.left_out] == [5]
    assert "another version" in report.left_out[0].why


def test_unreadable_and_repeated_runs_are_told():
    broken = Unreadable("id", "lora seed 0", "/place", "record.json is gone")
    report = collected(*main_runs(), unreadable=(broken,), superseded=3)
    assert [(left.what, left.runs) for left in report.left_out] == [
        ("lora seed 0 (id)", 1), ("runs", 3),
    ]  # fmt: skip
    assert report.states["finished"] == 5 + 1 + 3


def test_runs_without_a_score_make_no_table_and_the_report_goes_on():
    report = collected(*main_runs(), {**run_of("toy"), "scores": {}})
    assert shape(report) == {"main": WHOLE}
    (left,) = report.left_out
    assert left.what == "a table other" and "holds a score" in left.why


def test_a_run_of_before_there_was_an_option_is_in_no_row_with_newer_ones():
    runs = main_runs()
    options = {k: v for k, v in runs[0]["options"].items() if k != "lora_dropout"}
    report = collected({**runs[0], "options": options}, *runs[1:])
    assert shape(report) == {"main": (WHOLE[0], 4), "other": (["LoRA"], 1)}


def test_no_runs_make_an_empty_report():
    report = collected()
    assert report.tables == () and set(report.absent) == set(SPECS)


def test_pretraining_runs_that_may_not_be_compared_are_reports_of_their_own():
    longer = made("helm_d", 1)
    longer["train"] = longer["train"] | {"steps": 40}
    asked = {"bits": PretrainingSpec("bits", "Bits")}
    report = collected(pretraining=asked, pretrainings=(made("helm_d"), longer, made("llama_twin")))
    found = {
        each.spec.name: [run["identity"] for run in each.records] for each in report.pretrainings
    }
    assert found == {"bits": ["helm_d-0-2.0", "llama_twin-0-2.0"], "bits-2": ["helm_d-1-2.0"]}
    assert collected(pretraining=asked).absent["bits"] == "no runs"
    assert "bits" not in report.absent


def test_how_a_run_ended_is_told_of_the_row_alone_whose_options_it_has():
    there = of(
        "layers", run_of("lora", 0), run_of("lora", 0, options={"target_modules": ["down_proj"]})
    )
    killed = Unfinished(
        "x",
        "lora seed 1",
        "i",
        "KILLED",
        "",
        options={"target_modules": "['down_proj']", "r": "16"},
    )
    (table,) = [t for t in collected(*there, unfinished=(killed,)).tables if t.sweep == "layers"]
    assert {missing.label: missing.why for missing in table.missing} == {
        "LoRA": (),
        "LoRA (down_proj alone)": ("lora seed 1: killed",),
    }
