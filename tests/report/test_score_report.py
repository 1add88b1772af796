"""The tables, facts and notes of a report on scores."""

from dataclasses import replace

import pytest

from bench.report.formats import to_markdown
from bench.report.score_report import score_data, score_report
from bench.report.score_table import score_table
from bench.report.selection import Missing
from bench.tracking.sweeps import SweepRecord, SweepRow
from tests.report.score_runs import SETS, SPEC, answered, finished, selection, with_nll


def report_of(runs, spec=SPEC, **more):
    return score_report(score_table(selection(runs, spec, **more)))


def notes(runs, spec=SPEC, **more):
    return report_of(runs, spec, **more).tables[0].notes


def table(report, key):
    return next(table for table in report.tables if table.key == key)


def test_a_larger_family_detects_only_larger_differences():
    runs = [answered(m, seed) for m in ("lora", "dora", "series") for seed in range(3)]
    both = score_table(selection(runs)).comparisons
    alone = score_table(selection(runs, contrasts=[("", "DoRA", "LoRA")])).comparisons
    same = next(found for found in both if found.label == "DoRA")
    assert same.p == alone[0].p and same.detectable > 1.1 * alone[0].detectable


def test_comparisons_that_cannot_be_tested_are_not_part_of_the_family():
    runs = [answered(method, seed) for method in ("lora", "dora") for seed in range(3)]
    few = [answered("series", seed) for seed in range(2)]
    (alone,) = score_table(selection(runs)).comparisons
    both = score_table(selection([*runs, *few])).comparisons
    assert [found.detectable for found in both] == [None, alone.detectable]


def test_declared_comparisons_without_rows_are_noted():
    declared = ({"row": "dora", "reference": "lora"}, {"row": "dora", "reference": "prefix"})
    asked = selection([finished("lora"), finished("dora")], replace(SPEC, comparisons=declared))
    report = score_report(score_table(asked))
    absent = "Declared comparisons without rows in this sweep: dora vs. prefix."
    assert absent in report.tables[0].notes


def test_what_an_nll_leaves_out_and_why_it_is_not_shown_is_noted():
    runs = [answered(method, seed) for method in ("lora", "dora") for seed in range(3)]
    runs, predictions = with_nll(runs, {"lora": 1.0, "dora": 0.5})
    predictions(runs[0]["run_id"])[0]["nll"] = None
    text = to_markdown(score_report(score_table(selection(runs), predictions)))
    assert "wrong or too long: mawps 1." in text and "## Comparisons of NLL: mawps" in text
    del runs[0]["nll"]
    assert "The NLL of the reference answers is not shown: 1 of 6 runs have none." in notes(runs)


def test_settings_that_seeds_do_not_share_are_listed_by_seed():
    runs = [
        finished("hyplora", seed, curvature=K, train={"lr": lr, "epochs": 3}, options={"r": 4})
        for seed, (K, lr) in enumerate(((1.0, 0.01), (2.0, 0.03)))
    ]
    asked = selection(runs, replace(SPEC, rows_by="method"))
    group = replace(asked.groups[0], label="HypLoRA", records=tuple(runs))
    table = score_table(replace(asked, groups=(group,)))
    (row,) = score_data(table)["settings"]
    assert row["train"] == {"epochs": 3} and row["options"] == {"r": 4}
    assert row["curvature"] is None and row["by_seed"] == {"train.lr": [0.01, 0.03]}
    facts = score_report(table).facts
    assert facts["Curvature"] == "K=1.0 or K=2.0" and "lr 0.01 or 0.03" in facts["Training"]


def test_a_reference_without_runs_is_named():
    found = table(report_of([finished()], contrasts=[("vs. X", "LoRA", "x")]), "comparisons")
    assert [column.label for column in found.columns] == ["Verdict"]
    assert found.notes == ("LoRA − x: not compared, the reference has no finished run.",)


def test_no_reference_to_compare_with_is_noted():
    found = notes([finished("dora"), finished("series")])
    assert any(note.startswith("No comparisons: there is neither LoRA") for note in found)


def test_intervals_note_single_runs():
    (note,) = table(report_of([answered(), answered("dora")]), "intervals").notes
    assert note.endswith("Every row is a single run: other seeds differ.")


SEARCHED = {"file": None, "tries": 6, "seeds": [0, 1]}
TUNED = SEARCHED | {"file": "rates", "interior": True}


@pytest.mark.parametrize(
    ("tunings", "text"),
    [
        ((None, None), "learning rate not tuned: all rows"),
        ((TUNED, TUNED), "learning rate tuned: 6 tries each on validation loss, seeds 0, 1"),
        ((SEARCHED, SEARCHED), "settings tuned: 6 tries each on validation loss, seeds 0, 1"),
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


def test_scores_on_validation_rows_say_nothing_about_the_overlap_of_test_rows():
    counts = {"rows": 300, "exact": 5, "masked": 9, "near": 12}
    # The sets that are tested need not be those that are trained on.
    overlap = {"tests": {"SVAMP": counts}, "train": {"masked": 7}, "kept": True}
    text = to_markdown(report_of([finished(overlap=overlap, split="validation")]))
    assert "†" not in text and "Overlap" not in text


def test_a_single_run_has_no_deviation_and_a_set_outside_the_averages_is_named():
    spec = replace(SPEC, outside_averages=("SVAMP",))
    single = notes([finished()], spec)
    assert single[0] == "Accuracy in percent; every row is a single run, without a deviation."
    assert single[1] == "Rows are judged by MAWPS, not by SVAMP."
    three = finished(correct=(90, 240, 5), sets=SETS | {"gsm8k": ("GSM8K", 10)})
    assert notes([three], spec)[1].endswith("Not in the averages: SVAMP.")


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


def test_a_measured_curvature_that_was_learned_is_noted_with_its_start():
    start = {"q_proj": (1.0,), "down_proj": (1.0,)}
    found = curvature_notes(hyplora("auto", start, start | {"down_proj": (0.25,)}))
    assert found[1].endswith("before → after training: q_proj 1.00 → 1.00, down_proj 1.00 → 0.25.")


def test_a_fixed_curvature_needs_no_note():
    assert curvature_notes(hyplora(1.0, {"q_proj": (1.0,)})) == []
    tangent = hyplora(None, {"q_proj": (None,)})
    assert curvature_notes(tangent) == []
