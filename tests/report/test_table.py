"""Aggregation: hand-computed means, deviations and averages, and what is refused."""

import json

import pytest

from bench.report import TableSpec, build, method_label, to_csv, to_json, to_markdown

SPEC = TableSpec(name="toy", title="Toy")


def cells(table, method="lora"):
    return next(row for row in table.rows if row.method == method).cells


def test_mean_and_sample_deviation_over_seeds(record):
    runs = [record(seed=seed, correct=(right, 240)) for seed, right in enumerate((88, 90, 95))]
    cell = cells(build(runs, SPEC))["mawps"]
    # Mean 91; squared deviations 9 + 1 + 16 = 26, over n - 1 = 2.
    assert cell.mean == pytest.approx(91.0)
    assert cell.sd == pytest.approx(13**0.5)
    assert (cell.seeds, cell.n) == (3, 100)
    assert [(value.seed, value.value) for value in cell.values] == [(0, 88.0), (1, 90.0), (2, 95.0)]


def test_micro_weighs_by_items_and_macro_does_not(record):
    found = cells(build([record(correct=(90, 180))], SPEC))
    assert found["micro"].mean == pytest.approx(100 * 270 / 400)  # 67.5
    assert found["macro"].mean == pytest.approx((90 + 60) / 2)
    assert found["micro"].n == 400


def test_averages_are_taken_per_seed_and_then_over_seeds(record):
    # The sets move in opposite ways, so the macro average stands still while they do not.
    runs = [record(seed=0, correct=(90, 180)), record(seed=1, correct=(80, 210))]
    found = cells(build(runs, SPEC))
    assert found["mawps"].sd == pytest.approx(50**0.5)
    assert found["macro"].sd == pytest.approx(0.0)
    assert found["micro"].mean == pytest.approx((67.5 + 72.5) / 2)
    assert found["micro"].sd == pytest.approx(12.5**0.5)


def test_a_set_outside_the_averages_is_shown_but_not_counted(record):
    spec = TableSpec(name="toy", title="Toy", outside_averages=("svamp",))
    table = build([record(correct=(90, 180))], spec)
    assert cells(table)["SVAMP"].mean == pytest.approx(60.0)
    assert cells(table)["micro"].mean == cells(table)["macro"].mean == pytest.approx(90.0)
    assert any("Not in the averages: SVAMP" in note for note in table.notes)


def test_single_runs_have_no_deviation_and_the_table_says_so(record):
    table = build([record("none"), record(seed=0), record(seed=1)], SPEC)
    assert (cells(table, "none")["mawps"].sd, cells(table, "none")["micro"].sd) == (None, None)
    assert cells(table)["mawps"].sd == 0.0
    assert "No ± means a single run: base model (nothing is trained)" in table.notes[0]
    assert "every row is a single run" in build([record()], SPEC).notes[0]


def test_a_set_not_scored_is_an_empty_cell_never_zero(record):
    partial = record("dora")
    del partial["scores"]["SVAMP"]
    table = build([record(), partial], SPEC)
    found = cells(table, "dora")
    assert found["mawps"].mean == pytest.approx(90.0)
    assert [found[key].mean for key in ("SVAMP", "micro", "macro")] == [None, None, None]
    assert found["micro"].why == "SVAMP not scored in every run"
    assert any(note.startswith("DoRA was not scored on SVAMP and so") for note in table.notes)
    assert cells(table)["micro"].mean is not None


def test_one_seed_without_a_set_empties_the_averages_too(record):
    partial = record(seed=1)
    del partial["scores"]["SVAMP"]
    table = build([record(seed=0), partial], SPEC)
    assert cells(table)["SVAMP"].seeds == 1
    assert cells(table)["micro"].mean is None
    assert any("LoRA was not scored on SVAMP (seed 1)" in note for note in table.notes)


def test_cost_of_a_row(record):
    runs = [
        record(seed=0, seconds={"finetune": 40.0, "evaluate": 6.0}),
        record(seed=1, seconds={"finetune": 50.0, "evaluate": 8.0}),
        record("none"),
    ]
    none, lora = build(runs, SPEC).rows
    assert (lora.trainable, lora.trainable_percent) == (20_000, pytest.approx(1.0))
    assert (lora.finetune_seconds, lora.evaluate_seconds) == (45.0, 7.0)
    assert lora.format_rate == pytest.approx(98.0)
    assert (none.trainable, none.finetune_seconds) == (0, None)


def test_rows_stand_in_the_paper_s_order_and_name_k_only_where_it_varies(record):
    methods = ["mine", "hyplora_boost", "lora_matched", "dora", "lora", "parallel", "none"]
    runs = [record(method) for method in methods]
    runs += [record("hyplora", curvature=k) for k in (1.0, 0.1)]
    assert [row.label for row in build(runs, SPEC).rows] == [
        "base model", "Parallel", "LoRA", "DoRA", "LoRA (matched)",
        "HypLoRA (K=0.1)", "HypLoRA (K=1.0)", "HypLoRA (boost)", "mine",
    ]  # fmt: skip
    assert build([record("hyplora", curvature=0.1)], SPEC).rows[0].label == "HypLoRA"


def test_a_measured_curvature_is_a_row_behind_the_numbers(record):
    runs = [record("hyplora", curvature=k) for k in ("auto", 2.0, 0.5)]
    table = build([*runs, record("lora_matched", curvature="auto")], SPEC)
    assert [(row.label, row.curvature) for row in table.rows] == [
        ("LoRA (matched)", "auto"),
        ("HypLoRA (K=0.5)", 0.5),
        ("HypLoRA (K=2.0)", 2.0),
        ("HypLoRA (K=auto)", "auto"),
    ]
    assert "- Curvature: K=auto\n" in to_markdown(table)
    assert json.loads(to_json(table))["rows"][-1]["curvature"] == "auto"
    lines = to_csv(table).splitlines()
    assert any(line.startswith("HypLoRA (K=auto),hyplora,auto,mawps,") for line in lines)


def test_an_unknown_method_is_called_by_its_key():
    assert method_label("toy") == "toy"


def test_an_identity_counts_once_and_the_first_is_kept(record):
    table = build([record(correct=(90, 240)), record(correct=(10, 240))], SPEC)
    assert cells(table)["mawps"].seeds == 1
    assert cells(table)["mawps"].mean == pytest.approx(90.0)


def test_unequal_items_are_said(record):
    smaller = record("dora", correct=(45, 240), sets={"mawps": ("MAWPS", 50), "SVAMP": ("S", 300)})
    table = build([record(), smaller], SPEC)
    assert table.columns[0].items == (50, 100)
    assert "MAWPS had unequal numbers of items: LoRA 100; DoRA 50." in table.notes


def test_problems_over_the_length_limit_are_said(record):
    run = record()
    run["scores"]["mawps"]["too_long"] = 4
    assert any(note.endswith("all seeds: LoRA 4.") for note in build([run], SPEC).notes)


def test_no_records_are_refused():
    with pytest.raises(ValueError, match="no finished runs"):
        build([], SPEC)


@pytest.mark.parametrize("field", ["model", "data", "protocol", "published_base"])
def test_runs_that_cannot_be_compared_are_refused(record, field):
    with pytest.raises(ValueError, match=rf"one {field}.*'other' in 1 of 2 runs"):
        build([record(), record("dora", **{field: "other"})], SPEC)


def test_two_settings_are_not_averaged_as_if_they_were_seeds(record):
    other = record(seed=1, train={"lr": 0.1, "epochs": 3, "precision": "32"})
    with pytest.raises(ValueError, match=r"LoRA: .* differ in lr: 0\.01 and 0\.1"):
        build([record(), other], SPEC)
    with pytest.raises(ValueError, match="2 different runs with seed 0"):
        build([record(), record(identity="another")], SPEC)


def test_a_spec_is_read_from_a_sweep_file_s_mapping():
    spec = TableSpec.from_mapping(
        {"name": "t", "title": "T", "note": None, "outside_averages": ["gsm8k"], "published": None}
    )
    assert spec == TableSpec(name="t", title="T", outside_averages=("gsm8k",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "T"}, "did you mean 'title'"),
        ({"metric": "bleu"}, "allowed: accuracy, format_rate"),
        ({"name": "a/b"}, "names files"),
        ({"outside_averages": "gsm8k"}, r"write \[gsm8k\]"),
        ({"title": ""}, "title must be given"),
        ({"metric": "format_rate", "published": "table2"}, "published: null"),
    ],
)
def test_a_wrong_spec_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TableSpec.from_mapping({"name": "t", "title": "T"} | change)


def overlap(masked, kept):
    return {
        "tests": {
            "mawps": {"rows": 100, "exact": 0, "masked": 0},
            "SVAMP": {"rows": 300, "exact": 5, "masked": masked},
        },
        "train": {"exact": 5, "masked": 7},
        "kept": kept,
    }


def test_overlap_that_was_kept_marks_its_column_and_says_so(record):
    text = to_markdown(build([record(overlap=overlap(9, kept=True))], SPEC))
    assert "| MAWPS | SVAMP† |" in text
    assert "SVAMP 9 of 300 (5 to the letter). The 7 training rows that make it were kept" in text


def test_overlap_that_was_left_out_marks_nothing_but_is_told(record):
    text = to_markdown(build([record(overlap=overlap(9, kept=False))], SPEC))
    assert "†" not in text and "The 7 training rows that make it were left out." in text


def test_no_overlap_is_told_once(record):
    runs = [record(seed=seed, overlap=overlap(0, kept=False)) for seed in (0, 1)]
    assert to_markdown(build(runs, SPEC)).count("no test row stands in the training rows") == 1


def near(found, count):
    found["tests"]["SVAMP"]["near"] = found["tests"]["mawps"]["near"] = count
    found["train"]["near"] = count
    return found


def test_near_duplicates_are_told_where_there_are_more_than_masked_ones(record):
    text = to_markdown(build([record(overlap=near(overlap(9, kept=False), 9))], SPEC))
    assert "Near-duplicates, those above among them: MAWPS 9 of 100. There at least half" in text


def test_records_from_before_near_duplicates_were_counted_repeat_no_line(record):
    runs = [
        record(seed=0, overlap=overlap(9, kept=False)),
        record(seed=1, overlap=near(overlap(9, kept=False), 12)),
    ]
    text = to_markdown(build(runs, SPEC))
    assert text.count("Overlap: ") == 1 and text.count("SVAMP 12 of 300") == 1


def test_the_rules_that_answers_were_read_by_are_named(record):
    runs = [record(), record(seed=1)]
    assert "Answers read by" not in to_markdown(build(runs, SPEC))
    for run, rule in zip(runs, ("letter first/1", "letter released/1"), strict=True):
        run["scores"]["mawps"]["rule"] = "number/1"
        run["scores"]["SVAMP"]["rule"] = rule
    line = "Answers read by: MAWPS: number/1; SVAMP: letter first/1 and letter released/1"
    assert line in to_markdown(build(runs, SPEC))


def test_the_chance_level_stands_in_the_head_of_its_column(record):
    run = record()
    run["scores"]["SVAMP"]["chance"] = 20.0
    assert "| SVAMP (chance 20) |" in to_markdown(build([run], SPEC))


APART = TableSpec(name="toy", title="Toy", apart={"target_modules": {"down alone": ["down_proj"]}})


def test_an_option_may_make_rows_of_its_own(record):
    runs = [
        record(method, seed=seed, options={"r": 4, "target_modules": targets})
        | {"identity": f"{method}{seed}{targets}"}
        for method in ("lora_matched", "hyplora_boost", "lora")
        for targets in (["q_proj", "down_proj"], ["down_proj"])
        for seed in (0, 1)
    ]
    table = build(runs, APART)
    assert [row.label for row in table.rows] == [
        "LoRA",
        "LoRA (down alone)",
        "LoRA (matched)",
        "LoRA (matched, down alone)",
        "HypLoRA (boost)",
        "HypLoRA (boost, down alone)",
    ]
    assert all(row.seeds == (0, 1) for row in table.rows)
    assert "K=" not in table.rows[0].label


def test_without_it_the_same_runs_are_refused(record):
    runs = [
        record(options={"target_modules": targets}) | {"identity": str(targets)}
        for targets in (["q_proj"], ["down_proj"])
    ]
    with pytest.raises(ValueError, match="target_modules"):
        build(runs, SPEC)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"apart": {"r": 4}}, "apart.r is 4, but it names values"),
        ({"figures": ["accuracies"]}, "unknown figure 'accuracies', allowed: accuracy, cost, "),
        ({"figures": "gates"}, r"figures is 'gates', but it is a list: write \[gates\]"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TableSpec.from_mapping({"name": "toy", "title": "Toy", **fields})


def test_when_a_run_was_validated_matters_where_its_best_adapter_was_kept(record):
    def runs(**changed):
        trained = {"lr": 0.01, "keep": "best", "validate_every": 80}
        return [record(train=trained), record(seed=1, train=trained | changed)]

    build(runs(), SPEC)
    with pytest.raises(ValueError, match="validate_every: 80 and 200"):
        build(runs(validate_every=200), SPEC)
    # Runs of before there was a choice kept the last.
    build([record(), record(seed=1, train=record()["train"] | {"keep": "last"})], SPEC)


def test_a_file_that_is_not_the_papers_is_told_under_the_table(record):
    marks = {
        "dataset/mawps/test.json": "another file",
        "dataset/SVAMP/test.json": "the paper's file",
        "ft-training_set/math_10k.json": "not known",
        "dataset/buttons/train.json": "not known",
    }
    table = build([record(data_files=marks), record(seed=1, data_files=marks)], SPEC)
    notes = [note for note in table.notes if note.startswith("Data: ")]
    assert len(notes) == 2
    assert "not the paper's file, by its hash: dataset/mawps/test.json." in notes[0]
    assert notes[1].endswith("is not known: ft-training_set/math_10k.json.")


def test_nothing_is_said_of_files_where_all_are_the_papers_or_there_are_none(record):
    same = record(seed=1, data_files={"dataset/SVAMP/test.json": "the paper's file"})
    table = build([record(data_files={}), same, record("none")], SPEC)
    assert not [note for note in table.notes if note.startswith("Data: ")]
