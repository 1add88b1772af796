"""The tables, facts and notes of a report on scores."""

import re
from dataclasses import replace

import pytest

from bench.report.formats import frame, to_markdown
from bench.report.score_report import score_data, score_report
from bench.report.score_table import score_table
from bench.report.selection import Missing
from bench.report.spec import TableSpec
from bench.tracking.sweeps import SweepRecord, SweepRow
from tests.report.score_runs import SPEC, answered, finished, selection, with_nll


def report_of(runs, spec=SPEC, **more):
    return score_report(score_table(selection(runs, spec, **more)))


def notes(runs, spec=SPEC, **more):
    return report_of(runs, spec, **more).tables[0].notes


def table(report, key):
    return next(table for table in report.tables if table.key == key)


@pytest.fixture(scope="module")
def compared():
    runs = [answered("none", None, chances={"mawps": 0.02, "SVAMP": 0.0})]
    for place, (method, chance) in enumerate({"lora": 0.8, "series": 0.3, "dora": 0.79}.items()):
        chances = {"mawps": chance, "SVAMP": chance}
        runs += [answered(method, seed, [place, seed], chances=chances) for seed in range(3)]
    return report_of(runs)


def test_tables_come_in_reading_order(compared):
    assert [table.key for table in compared.tables] == [
        "scores", "intervals", "comparisons", "comparisons, benchmarks", "cost"
    ]  # fmt: skip
    assert [table.view for table in compared.tables] == [False, True, False, False, False]


def test_comparisons_have_verdict_difference_and_p(compared):
    text = to_markdown(compared)
    assert "## Comparisons: micro average" in text
    assert "| Row − reference | Verdict | Difference [95% interval] | p (Holm) |" in text
    assert "| Series − LoRA | worse | -" in text and "| DoRA − LoRA | n.s. | " in text
    main, single = table(compared, "comparisons"), table(compared, "comparisons, benchmarks")
    assert [row.names for row in main.rows] == [("Series − LoRA",), ("DoRA − LoRA",)]
    cell = main.rows[0].cells["micro"]
    assert cell.low < cell.value < cell.high < 0 and cell.p < 0.05
    assert [run.seed for run in cell.runs] == [0, 1, 2]
    assert list(single.rows[0].cells) == ["mawps", "SVAMP"]
    assert main.rows[0].keys == {"method": "series", "curvature": None, "reference": "LoRA"}
    family = "all rows with their reference on the micro average (2); on single benchmarks (4)"
    assert any(family in note for note in main.notes)
    assert "separate" not in text


def test_power_is_the_range_of_differences_that_are_detected(compared):
    (note,) = [n for n in table(compared, "comparisons").notes if n.startswith("Power: ")]
    found = re.search(r"with 3 seeds and 240 .* of ([\d.]+) \((.+?)\) to ([\d.]+) percentage", note)
    assert 2 < float(found[1]) < float(found[3]) < 60
    assert found[2] in ("Series − LoRA", "DoRA − LoRA")


def test_a_larger_family_detects_only_larger_differences():
    runs = [answered(m, seed) for m in ("lora", "dora", "series") for seed in range(3)]
    both = score_table(selection(runs)).comparisons
    alone = score_table(selection(runs, contrasts=[("", "DoRA", "LoRA")])).comparisons
    same = next(found for found in both if found.label == "DoRA")
    assert same.p == alone[0].p and same.detectable > 1.1 * alone[0].detectable


def test_declared_comparisons_are_named_and_are_the_family():
    declared = [("dora", "series", "scale"), ("dora", "prefix", "x")]
    keys = ("row", "reference", "about")
    spec = replace(SPEC, comparisons=tuple(dict(zip(keys, d, strict=True)) for d in declared))
    runs = [answered(method, seed) for method in ("lora", "series", "dora") for seed in range(3)]
    asked = selection(runs, spec, contrasts=[("scale", "DoRA", "Series")])
    rows = tuple(SweepRow(key, label, label.lower()) for key, label in asked.labels.items())
    record = SweepRecord("toy", "finetune", {}, (), rows, (), asked.contrasts)
    report = score_report(score_table(replace(asked, sweep=record)))
    text = to_markdown(report)
    assert "| Row − reference | About | Verdict |" in text and "| DoRA − Series | scale |" in text
    found = table(report, "comparisons")
    assert any("the sweep file's comparisons on the micro average (1)" in n for n in found.notes)
    absent = "Declared comparisons without rows in this sweep: dora vs. prefix."
    assert absent in report.tables[0].notes


def test_nll_is_a_column_and_comparisons_of_its_own():
    methods = {"lora": 1.0, "dora": 0.5}
    runs = [answered(method, seed) for method in methods for seed in range(3)]
    runs, predictions = with_nll(runs, methods)
    predictions(runs[0]["run_id"])[0]["nll"] = None
    report = score_report(score_table(selection(runs), predictions))
    text = to_markdown(report)
    assert "| Method | mawps | Micro | Macro | NLL, micro | NLL, macro |" in text
    assert re.search(r"\| DoRA \|.* 0\.\d{3} ± 0\.\d{3} \|", text)
    assert "(lower is better): mean over items" in text and "in some run: mawps 1." in text
    found = table(report, "comparisons of NLL")
    assert found.heading == "Comparisons of NLL: micro average"
    assert "| DoRA − LoRA | better | -0." in text
    assert found.notes[0].startswith("Differences are in nats per token")
    assert found.notes[0].endswith("below 0 the row is better.")
    lines = frame(report).set_index(["table", "row", "column"])
    assert lines.loc[("comparisons of NLL", "DoRA − LoRA", "micro_nll"), "value"] < -0.4
    del runs[0]["nll"]
    assert "The NLL of the reference answers is not shown: 1 of 6 runs have none." in notes(runs)


def test_too_few_seeds_have_a_difference_and_a_reason():
    runs = [answered(method, seed) for method in ("lora", "dora") for seed in (0, 1)]
    found = table(report_of(runs), "comparisons")
    assert found.rows[0].cells["micro"].verdict == "n.s. (too few seeds)"
    assert "DoRA − LoRA: no test, 2 common seeds, 3 are needed." in found.notes


def test_a_reference_without_runs_is_named():
    found = table(report_of([finished()], contrasts=[("vs. X", "LoRA", "x")]), "comparisons")
    assert [column.label for column in found.columns] == ["Verdict"]
    assert found.notes == ("LoRA − x: not compared, the reference has no finished run.",)


def test_no_reference_to_compare_with_is_noted():
    found = notes([finished("dora"), finished("series")])
    assert any(note.startswith("No comparisons: there is no LoRA") for note in found)


def test_intervals_note_single_runs(compared):
    (note,) = table(compared, "intervals").notes
    assert note.endswith("Over items only for a single run: base model.")
    (note,) = table(report_of([answered(), answered("dora")]), "intervals").notes
    assert note.endswith("Every row is a single run: other seeds differ.")


def test_facts_name_what_was_compared():
    runs = [finished("none"), finished(), finished(seed=1), finished("hyplora", curvature=1.0)]
    facts = report_of(runs, replace(SPEC, note="Table 3")).facts
    assert facts == {
        "Table": "toy (Table 3)",
        "Base": "tiny",
        "Data": "synthetic",
        "Protocol": "fast",
        "Items": "MAWPS 100, SVAMP 300",
        "Seeds": "base model: one run, no seed; LoRA: 0, 1; HypLoRA: 0",
        "Answers read by": "number/1",
        "Curvature": "K=1.0",
        "Trained on": "1500 rows, 0 left out as too long, 7% padding",
        "Training": "lr 0.01, epochs 3, precision 32",
        "Trained parameters": "20,000",
        "Tuning": "learning rate not tuned: all rows",
    }


def test_facts_have_rank_alpha_modules_and_sizes_of_all_trained_rows():
    lora = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
    small = {"trainable": 5_000, "total": 100_000}
    series = {"bottleneck_size": 32, "target_modules": ["up_proj"]}
    methods = ("lora", "dora", "series")
    runs = [finished(m) for m in methods]
    asked = selection([*runs, finished("none")], contrasts=())
    changes = {"DoRA": {"options": lora | {"lora_alpha": 64}}, "LoRA": {"options": lora}}
    changes["Series"] = {"options": series, "parameters": small}
    groups = tuple(
        replace(g, records=tuple(run | changes.get(g.label, {}) for run in g.records))
        for g in asked.groups
    )
    facts = score_report(score_table(replace(asked, groups=groups))).facts
    assert facts["Rank"] == "16 (Series: none)"
    assert facts["Alpha"] == "Series: none; LoRA: 32; DoRA: 64"
    assert facts["Target modules"] == "q_proj v_proj (Series: up_proj)"
    assert facts["Bottleneck"] == "none (Series: 32)"
    assert facts["Trained parameters"] == "20,000 (Series: 5,000)"
    assert "Adapter" not in facts


SEARCHED = {"file": None, "tries": 6, "seeds": [0, 1]}
TUNED = SEARCHED | {"file": "rates", "interior": True}


@pytest.mark.parametrize(
    ("tunings", "text"),
    [
        ((TUNED, SEARCHED), "learning rate tuned: 6 tries each on validation loss, seeds 0, 1"),
        (
            (TUNED, None),
            "learning rate tuned: 6 tries each on validation loss, seeds 0, 1; "
            "learning rate not tuned: DoRA",
        ),
        (
            (TUNED, TUNED | {"interior": False}),
            "learning rate tuned: 6 tries each on validation loss, seeds 0, 1; "
            "best rate at the end of its grid: DoRA",
        ),
        (
            (TUNED, TUNED | {"tries": 3}),
            "learning rate tuned: LoRA: 6 tries each on validation loss, seeds 0, 1; "
            "DoRA: 3 tries each on validation loss, seeds 0, 1",
        ),
    ],
)
def test_facts_say_how_rates_were_tuned_and_of_which_rows_they_were_not(tunings, text):
    methods = ("lora", "dora")
    asked = selection([finished(method) for method in methods])
    rows = tuple(
        SweepRow(group.key, group.label, method, tuning=tuning)
        for group, method, tuning in zip(asked.groups, methods, tunings, strict=True)
    )
    sweep = SweepRecord("table", "finetune", {}, (), rows, ())
    facts = score_report(score_table(replace(asked, sweep=sweep))).facts
    assert facts["Tuning"] == text


def test_facts_name_settings_that_differ():
    runs = [finished(), finished("dora", train={"lr": 0.1, "epochs": 3, "precision": "32"})]
    facts = report_of(runs).facts
    assert (facts["lr"], facts["Training"]) == ("LoRA: 0.01; DoRA: 0.1", "epochs 3, precision 32")


def test_headings_have_chance_levels_and_the_mark_of_overlap():
    counts = {"rows": 300, "exact": 5, "masked": 9, "near": 12}
    none = {"rows": 100, "exact": 0, "masked": 0, "near": 0}
    overlap = {"tests": {"mawps": none, "SVAMP": counts}, "train": {"masked": 7}, "kept": True}
    run = finished(overlap=overlap)
    run["scores"]["SVAMP"]["chance"] = 20.0
    text = to_markdown(report_of([run]))
    assert "| MAWPS | SVAMP† (chance 20) |" in text
    assert "| chance | - | 20.0 | - | - |" in text
    assert "SVAMP 9 of 300 (5 verbatim). The 7 training rows concerned were kept" in text
    assert "Near-duplicates, including those above: SVAMP 12 of 300." in text
    left_out = to_markdown(report_of([finished(overlap=overlap | {"kept": False})]))
    assert "†" not in left_out and "The 7 training rows concerned were left out." in left_out


def test_no_overlap_is_noted_once():
    none = {"rows": 100, "exact": 0, "masked": 0, "near": 0}
    overlap = {"tests": {"mawps": none, "SVAMP": none}, "train": none, "kept": False}
    found = notes([finished("none"), *(finished(seed=s, overlap=overlap) for s in (0, 1))])
    assert sum("no test row is among the training rows" in note for note in found) == 1


def test_notes_explain_means_guesses_and_commits():
    other = finished("dora", git={"commit": "b" * 40, "dirty": True})
    found = " ".join(notes([finished("none"), finished(), finished(seed=1), other]))
    for part in (
        "No ± means a single run: base model (nothing is trained), DoRA.",
        "Micro: share of all items; macro: plain mean of the sets; both are computed per seed",
        "Majority class: always the most frequent gold answer of the set (MAWPS 7, SVAMP 7).",
        "Code: commits aaaaaaaaaa (3 of 4 runs), bbbbbbbbbb (1 of 4 runs); it may differ",
        "1 of 4 runs had uncommitted changes",
    ):
        assert part in found
    single = notes([finished()], TableSpec(name="toy", title="Toy", outside_averages=("SVAMP",)))
    assert single[0] == "Accuracy in percent; every row is a single run, without a deviation."
    assert single[1].endswith("Not in the averages: SVAMP.")
    assert single[-1] == "Code: commit aaaaaaaaaa."


def test_remarks_and_missing_runs_are_noted_first():
    missing = (Missing("DoRA", (0, 2)), *(Missing(f"row {n}", ()) for n in range(7)))
    more = {"missing": missing, "total": 12, "remarks": ("of the sweep",)}
    found = notes([finished()], replace(SPEC, remarks=("of the file",)), **more)
    assert found[:2] == ("of the sweep", "of the file")
    assert found[2].startswith("Incomplete: 1 of 12 runs have finished. Missing: DoRA (seeds 0, 2)")
    assert found[2].endswith("row 4; 2 more rows.")


def test_problems_over_the_length_limit_are_noted():
    run = finished()
    run["scores"]["mawps"]["too_long"] = 4
    assert any(note.endswith("all seeds: LoRA 4.") for note in notes([run]))


def test_files_that_are_not_the_paper_s_are_noted():
    states = {
        "dataset/mawps/test.json": "another file",
        "dataset/SVAMP/test.json": "the paper's file",
        "ft-training_set/math_10k.json": "not known",
        "dataset/buttons/train.json": "not known",
    }
    found = notes([finished(data_files=states), finished(seed=1, data_files=states)])
    found = [note for note in found if note.startswith("Data: ")]
    assert "not the paper's file, by its hash: dataset/mawps/test.json." in found[0]
    assert found[1].endswith("are the paper's files: ft-training_set/math_10k.json.")
    same = finished(data_files={"dataset/SVAMP/test.json": "the paper's file"})
    assert not [note for note in notes([same]) if note.startswith("Data: ")]


def test_forgetting_is_noted_as_a_mean_over_seeds():
    def loss(after):
        before = {"nats_per_token": 1.0}
        return {"sha256": "x", "before": before, "after": {"nats_per_token": after}}

    runs = [finished(forgetting=loss(2.0)), finished(seed=1, forgetting=loss(3.0))]
    runs.append(finished("hyplora", curvature=1.0, forgetting=loss(1.5)))
    (line,) = [note for note in notes(runs) if note.startswith("Cross-entropy of general text")]
    assert "LoRA 1.000 → 2.500; HypLoRA 1.000 → 1.500." in line


def hyplora(curvature, start, end=None, seed=0):
    def gates(values):
        facts = {"mean": 0.1, "median": 0.1, "variation": 0.0, "largest": 0.2, "clamped": 0.0}
        return [
            {"layer": f"model.layers.{i}.{module}", "module": module, "curvature": K, **facts}
            for module, Ks in values.items()
            for i, K in enumerate(Ks)
        ]

    moments = {"start": gates(start), "end": gates(end or start)}
    training = {"padding": 0.1, "gates": moments}
    return finished("hyplora", seed, curvature=curvature, training=training)


def curvature_notes(*runs):
    return [note for note in notes(runs) if note.startswith("K")]


def test_measured_curvature_is_noted_by_module_type():
    found = curvature_notes(
        hyplora("auto", {"q_proj": (2.0, 3.0), "down_proj": (0.5, 1.0)}),
        hyplora("auto", {"q_proj": (2.0, 3.0), "down_proj": (0.5, 2.0)}, seed=1),
    )
    assert found[0].startswith("K=auto: each layer's own K")
    assert found[1] == (
        "K of HypLoRA, mean over layers and seeds, as measured: q_proj 2.50, down_proj 1.00."
    )


@pytest.mark.parametrize(("curvature", "count"), [("auto", 2), (1.0, 1)])
def test_learned_curvature_is_noted_with_its_start(curvature, count):
    start = {"q_proj": (1.0,), "down_proj": (1.0,)}
    found = curvature_notes(hyplora(curvature, start, start | {"down_proj": (0.25,)}))
    assert len(found) == count
    assert found[-1].endswith("before → after training: q_proj 1.00 → 1.00, down_proj 1.00 → 0.25.")


def test_a_fixed_curvature_needs_no_note():
    assert curvature_notes(hyplora(1.0, {"q_proj": (1.0,)})) == []
    tangent = hyplora(None, {"q_proj": (None,)})
    assert curvature_notes(tangent) == []


def test_the_data_have_runs_and_settings_of_each_row():
    found = score_data(score_table(selection([answered("lora", s) for s in range(3)])))
    (row,) = found["settings"]
    assert row["seeds"] == (0, 1, 2) and len(row["identities"]) == 3
    assert row["train"]["lr"] == 0.01
