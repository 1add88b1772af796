"""Means, deviations, averages, guesses and comparisons of a score table."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from bench.report.records import SHARED
from bench.report.score_table import score_table
from bench.report.spec import TableSpec
from tests.report.score_runs import SETS, SPEC, answered, finished, selection, with_nll

FAR = {"lora": 0.8, "dora": 0.8, "series": 0.3, "hyplora": 0.79}


def table_of(runs, spec=SPEC, predictions=lambda run_id: (), **more):
    return score_table(selection(runs, spec, **more), predictions)


def cells(table, method="lora"):
    return next(row for row in table.rows if row.method == method).cells


def random_runs(chances=FAR, seeds=3, sets=("mawps", "SVAMP"), **changes):
    return [
        answered(method, seed, [place, seed], chances=dict.fromkeys(sets, chance), **changes)
        for place, (method, chance) in enumerate(chances.items())
        for seed in range(seeds if method != "none" else 1)
    ]


def verdicts(table, column="micro"):
    return {found.label: found.verdict for found in table.comparisons if found.column == column}


def assert_two_families(comparisons):
    """p-values are corrected over those on the average and over those on single benchmarks."""
    for average in (True, False):
        family = [one for one in comparisons if (one.column == "micro") is average]
        expected = multipletests([one.p for one in family], method="holm")[1]
        assert [one.p_holm for one in family] == pytest.approx(expected.tolist())


def test_mean_and_sample_deviation_over_seeds():
    runs = [finished(seed=seed, correct=(right, 240)) for seed, right in enumerate((88, 90, 95))]
    cell = cells(table_of(runs))["mawps"]
    # Mean 91; squared deviations 9 + 1 + 16 = 26, over n - 1 = 2.
    assert (cell.value, cell.sd) == (pytest.approx(91.0), pytest.approx(13**0.5))
    assert cell.n == 100
    assert [(run.seed, run.value) for run in cell.runs] == [(0, 88.0), (1, 90.0), (2, 95.0)]


def test_micro_weighs_by_items_and_macro_does_not():
    found = cells(table_of([finished(correct=(90, 180))]))
    assert found["micro"].value == pytest.approx(100 * 270 / 400)  # 67.5
    assert found["macro"].value == pytest.approx((90 + 60) / 2)
    assert found["micro"].n == 400


def test_averages_are_taken_per_seed_and_then_over_seeds():
    # The sets move in opposite ways, so that the macro average does not.
    found = cells(table_of([finished(correct=(90, 180)), finished(seed=1, correct=(80, 210))]))
    assert found["mawps"].sd == pytest.approx(50**0.5)
    assert found["macro"].sd == pytest.approx(0.0)
    assert found["micro"].value == pytest.approx((67.5 + 72.5) / 2)
    assert found["micro"].sd == pytest.approx(12.5**0.5)


def test_a_set_outside_the_averages_is_not_counted():
    spec = TableSpec(name="toy", title="Toy", outside_averages=("svamp",))
    run = finished(correct=(90, 180, 80), sets=SETS | {"gsm8k": ("GSM8K", 100)})
    run["scores"]["SVAMP"]["chance"] = 20.0
    table = table_of([run], spec)
    assert cells(table)["SVAMP"].value == pytest.approx(60.0)
    assert cells(table)["micro"].value == cells(table)["macro"].value == pytest.approx(85.0)
    assert table.guesses[1].cells["macro"].value == 4.0


def test_rows_are_judged_by_the_only_set_that_counts():
    spec = replace(SPEC, outside_averages=("mawps",))
    table = table_of(random_runs(), spec)
    assert (table.averages, table.main) == ((), "SVAMP")
    assert [found.column for found in table.comparisons] == 3 * ["SVAMP"] + 3 * ["mawps"]


def test_chance_and_majority_are_averaged_as_the_sets_are():
    run = finished()
    for key, chance, majority in (("mawps", 50.0, 60.0), ("SVAMP", 20.0, 40.0)):
        run["scores"][key] |= {"chance": chance, "majority": {"answer": "7", "accuracy": majority}}
    chance, majority = table_of([run]).guesses
    assert [chance.cells[k].value for k in ("mawps", "SVAMP", "macro")] == [50.0, 20.0, 35.0]
    assert majority.cells["micro"].value == pytest.approx((60 * 100 + 40 * 300) / 400)


def test_an_average_of_guesses_is_empty_if_a_set_has_no_chance_level():
    run = finished()
    run["scores"]["SVAMP"]["chance"] = 20.0
    found = table_of([run]).guesses[0].cells
    values = [found[key].value for key in ("mawps", "SVAMP", "micro", "macro")]
    assert values == [None, 20.0, None, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({f: "other"}, rf"one {f}.*'other' in 1 of 2 runs") for f in SHARED[:-1]),
        ({"hashes": {"base": "base", "tests": "others", "train": "train"}}, "one test rows"),
        (
            {"correct": (9,), "sets": {"mawps": ("MAWPS", 50)}},
            r"one set of test items.*'mawps 50' in 1",
        ),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        table_of([finished(), finished("dora", **changes)])
    with pytest.raises(ValueError, match="no finished runs"):
        table_of([])


def test_rows_are_compared_as_asked():
    table = table_of(random_runs({"none": 0.1} | FAR))
    assert verdicts(table) == {"Series": "worse", "DoRA": "n.s.", "HypLoRA": "n.s."}
    assert {found.heading for found in table.comparisons} == {"vs. LoRA"}
    assert verdicts(table_of(random_runs({"lora": 0.3, "dora": 0.8}))) == {"DoRA": "better"}


def test_a_single_benchmark_has_no_averages():
    table = table_of(random_runs(sets=("mawps",)))
    assert cells(table).keys() == {"mawps"}
    assert {one.column for one in table.comparisons} == {"mawps"}


def test_averages_and_benchmarks_are_corrected_as_two_families():
    assert_two_families(table_of(random_runs()).comparisons)


def test_nll_has_means_over_seeds_and_comparisons_in_which_lower_is_better():
    means = {"lora": 1.0, "dora": 1.01, "series": 0.6, "hyplora": 1.5}
    runs, predictions = with_nll(random_runs(), means)
    table = table_of(runs, predictions=predictions)
    own = [
        np.mean([line["nll"] for line in predictions(run["run_id"])])
        for run in runs
        if run["method"] == "dora"
    ]
    cell = cells(table, "dora")["micro_nll"]
    assert (cell.value, cell.sd) == (
        pytest.approx(np.mean(own)),
        pytest.approx(np.std(own, ddof=1)),
    )
    found = [one for one in table.comparisons if one.measure == "nll"]
    main = {one.label: one.verdict for one in found if one.column == "micro"}
    assert main == {"Series": "better", "DoRA": "n.s.", "HypLoRA": "worse"}
    assert found[1].difference == pytest.approx(
        cell.value - cells(table, "lora")["micro_nll"].value
    )
    # Accuracy is corrected as without it: each measure is a family of its own.
    accuracy = [one for one in table.comparisons if one.measure == "accuracy"]
    assert accuracy == list(table_of(random_runs()).comparisons)
    assert_two_families(found)


def test_an_item_without_nll_in_one_run_is_left_out_of_all():
    runs, predictions = with_nll(random_runs({"lora": 0.8, "dora": 0.7}), {"lora": 1, "dora": 2})
    predictions(runs[0]["run_id"])[0]["nll"] = None
    predictions(runs[4]["run_id"])[0]["nll"] = 1e9
    table = table_of(runs, predictions=predictions)
    assert [row.cells["mawps_nll"].n for row in table.rows] == [119, 119]
    assert cells(table, "dora")["mawps_nll"].value < 3


def clustered(runs, size):
    return [
        run
        | {"scores": {k: s | {"clusters": [i // size for i in range(s["n"])]} for k, s in scores}}
        for run in runs
        for scores in [run["scores"].items()]
    ]


def test_items_that_share_a_text_are_tested_as_clusters():
    def repeated(runs):
        # Each item three times: as clusters, they say what one of each does.
        for run in runs:
            for found in run["scores"].values():
                text = "".join(3 * outcome for outcome in found["outcomes"])
                found |= {"n": len(text), "correct": text.count("1"), "outcomes": text}
        return runs

    once, naive = table_of(random_runs()), table_of(repeated(random_runs()))
    table = table_of(clustered(repeated(random_runs()), 3))
    assert table.benchmarks[0].clusters == 120
    for found, alone in zip(table.comparisons, once.comparisons, strict=True):
        assert (found.n, found.difference) == (alone.n, pytest.approx(alone.difference))
        assert (found.p, found.low) == (pytest.approx(alone.p), pytest.approx(alone.low))
    cell, of_items = cells(table)["micro"], cells(naive)["micro"]
    assert cell.value == pytest.approx(of_items.value)
    assert cell.high - cell.low > 1.2 * (of_items.high - of_items.low)


def test_clusters_of_nll_are_those_of_the_items_that_have_one():
    means = {"lora": 1.0, "dora": 2.0}
    runs, predictions = with_nll(clustered(random_runs({"lora": 0.8, "dora": 0.7}), 2), means)
    for line in predictions(runs[0]["run_id"])[:3]:
        line["nll"] = None
    table = table_of(runs, predictions=predictions)
    found = next(c for c in table.comparisons if c.measure == "nll" and c.column == "mawps")
    assert found.n == 59 and cells(table)["mawps_nll"].n == 117
    lora, dora = cells(table)["mawps_nll"].value, cells(table, "dora")["mawps_nll"].value
    assert found.difference == pytest.approx(dora - lora)


def test_a_table_may_be_judged_by_the_macro_average():
    runs = random_runs({"lora": 0.5, "dora": 0.8}, sets=("mawps",))
    fewer = random_runs({"lora": 0.7, "dora": 0.4}, sets=("SVAMP",), items=40)
    for run, other in zip(runs, fewer, strict=True):
        run["scores"] |= other["scores"]
    table = table_of(runs, replace(SPEC, judged_by="macro"))
    assert (table.averages, table.main) == (("macro", "micro"), "macro")
    assert {found.column for found in table.comparisons} == {"macro", "mawps", "SVAMP"}
    macro = [cells(table, method)["macro"].value for method in ("dora", "lora")]
    assert table.comparisons[0].difference == pytest.approx(macro[0] - macro[1])


def test_a_row_without_seeds_is_not_compared():
    runs = random_runs({"none": 0.1, "hyplora": 0.8})
    table = table_of(runs, contrasts=[("", "HypLoRA", "base model")])
    assert verdicts(table) == {"HypLoRA": "not compared"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_nothing_is_significant_with_fewer_than_three_seeds(seeds):
    table = table_of(random_runs(seeds=seeds))
    assert set(verdicts(table).values()) == {"n.s. (too few seeds)"}
    series = next(found for found in table.comparisons if found.label == "Series")
    assert series.difference < -40 and series.p is None and series.low is None
    assert series.why.endswith("3 are needed")


def test_a_row_has_the_same_intervals_in_every_table():
    lora = random_runs({"lora": 0.8})
    alone, together = (
        cells(table_of(runs))["micro"] for runs in (lora, [*lora, *random_runs({"dora": 0.7})])
    )
    assert (alone.low, alone.high) == (together.low, together.high)


def test_seeds_that_both_have_are_matched_not_places():
    # The second row lacks seed 1; its answers are those of the first with the same seed.
    runs = [finished(seed=seed, correct=(10 * seed + 10, 0)) for seed in range(4)]
    runs += [finished("dora", seed, correct=(10 * seed + 10, 0)) for seed in (0, 2, 3)]
    found = table_of(runs).comparisons[0]
    assert found.seeds == (0, 2, 3) and found.by_seed == {0: 0.0, 2: 0.0, 3: 0.0}
    assert np.isclose(found.p, 1.0)
