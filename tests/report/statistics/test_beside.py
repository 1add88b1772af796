"""Which rows are set against which, the families, and the words."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from bench.report import TableSpec, build, to_markdown

SPEC = TableSpec(name="toy", title="Toy")
FAR = {"lora": 0.8, "dora": 0.8, "series": 0.3, "hyplora": 0.79}


def runs(answered, chances=FAR, seeds=3, sets=("mawps", "SVAMP"), **changes):
    made = []
    for place, (method, chance) in enumerate(chances.items()):
        for seed in range(seeds if method != "none" else 1):
            draws = np.random.default_rng([place, seed])
            made.append(
                answered(method, seed, draws=draws, **dict.fromkeys(sets, chance), **changes)
            )
    return made


def verdicts(section, key="micro"):
    return {found.label: found.verdict for found in section.on(key)}


def test_each_method_is_set_against_lora_and_the_base_model_is_not(answered):
    (section,) = build(runs(answered, {"none": 0.1} | FAR), SPEC).beside
    assert section.heading == "Beside LoRA"
    assert verdicts(section) == {
        "Series": "worse",
        "DoRA": "not separated",
        "HypLoRA": "not separated",
    }


def test_the_average_comes_first_and_then_each_benchmark(answered):
    (section,) = build(runs(answered), SPEC).beside
    assert list(dict.fromkeys(found.key for found in section.differences)) == [
        "micro",
        "mawps",
        "SVAMP",
    ]


def test_difference_interval_and_p_are_those_of_the_outcomes(answered):
    table = build(runs(answered), SPEC)
    series = table.beside[0].on("micro")[0]
    cells = {row.method: row.cells["micro"] for row in table.rows}
    assert series.difference == pytest.approx(cells["series"].mean - cells["lora"].mean)
    assert series.low < series.difference < series.high < 0
    assert series.p < series.p_holm < 0.01
    assert (series.seeds, series.n) == ((0, 1, 2), 240)


def test_better_is_called_better(answered):
    (section,) = build(runs(answered, {"lora": 0.3, "dora": 0.8}), SPEC).beside
    assert verdicts(section) == {"DoRA": "better"}


def test_a_table_may_be_judged_by_the_plain_mean_of_its_sets(answered):
    made = runs(answered, {"lora": 0.5, "dora": 0.8}, sets=("mawps",))
    for run, other in zip(made, runs(answered, {"lora": 0.7, "dora": 0.4}, items=40), strict=True):
        run["scores"]["SVAMP"] = other["scores"]["SVAMP"]
    spec = TableSpec(name="toy", title="Toy", judged_by="macro")
    table = build(made, spec)
    assert table.averages == ("macro", "micro")
    (section,) = table.beside
    assert {found.key for found in section.differences} == {"macro", "mawps", "SVAMP"}
    dora = section.on("macro")[0]
    cells = {row.method: row.cells["macro"].mean for row in table.rows}
    assert dora.difference == pytest.approx(cells["dora"] - cells["lora"])
    assert "the 1 on the macro average and the 2 on single benchmarks" in " ".join(section.notes)
    with pytest.raises(ValueError, match="judged_by is 'mean', allowed: micro, macro"):
        TableSpec(name="toy", title="Toy", judged_by="mean")


def test_averages_and_benchmarks_are_corrected_as_two_families(answered):
    (section,) = build(runs(answered), SPEC).beside
    for averages in (True, False):
        family = [x for x in section.differences if (x.key == "micro") is averages]
        expected = multipletests([found.p for found in family], method="holm")[1]
        assert [found.p_holm for found in family] == pytest.approx(expected.tolist())


def test_a_benchmark_alone_is_its_own_average(answered):
    (section,) = build(runs(answered, sets=("mawps",)), SPEC).beside
    assert {found.key for found in section.differences} == {"micro"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_separate_nothing(answered, seeds):
    table = build(runs(answered, seeds=seeds), SPEC)
    (section,) = table.beside
    assert set(verdicts(section).values()) == {"not separated (seeds)"}
    found = section.on("micro")[0]
    assert found.difference < -40 and found.p is None and found.low is None
    assert "in common, at least 3 are needed" in to_markdown(table)


def test_only_seeds_that_both_have_count(answered):
    made = [run for run in runs(answered, seeds=4) if (run["method"], run["seed"]) != ("series", 0)]
    (section,) = build(made, SPEC).beside
    assert section.on("micro")[0].seeds == (1, 2, 3)


def test_records_that_do_not_say_which_rows_were_right_have_no_test(answered):
    made = runs(answered)
    for run in made:
        for score in run["scores"].values():
            del score["outcomes"]
    table = build(made, SPEC)
    assert set(verdicts(table.beside[0]).values()) == {"not compared"}
    assert all(cell.low is None for row in table.rows for cell in row.cells.values())
    assert "not every run's record says which rows it answered correctly" in to_markdown(table)


def test_runs_that_do_not_say_which_rows_they_were_asked_are_not_compared(answered):
    made = runs(answered)
    for run in made:
        if run["method"] == "dora":
            run["hashes"] = {}
    assert verdicts(build(made, SPEC).beside[0])["DoRA"] == "not compared"


def test_a_set_that_a_run_lacks_takes_the_average_and_that_set_alone(answered):
    made = runs(answered)
    del made[-1]["scores"]["SVAMP"]
    (section,) = build(made, SPEC).beside
    assert verdicts(section)["HypLoRA"] == "not compared"
    assert verdicts(section, "SVAMP")["HypLoRA"] == "not compared"
    assert verdicts(section, "mawps")["HypLoRA"] == "not separated"


def test_lora_at_the_scale_is_of_the_same_curvature(answered):
    made = []
    for seed in range(3):
        made.append(answered("lora", seed, mawps=0.8))
        for k, chance in ((0.5, 0.2), (1.0, 0.8)):
            made.append(answered("lora_matched", seed, curvature=k, mawps=chance))
            made.append(answered("hyplora", seed, curvature=k, mawps=0.8))
    table = build(made, SPEC)
    beside, matched = table.beside
    assert matched.heading == "Beside LoRA at HypLoRA's scale"
    assert verdicts(matched) == {
        "HypLoRA (K=0.5)": "better",
        "HypLoRA (K=1.0)": "not separated",
    }
    assert verdicts(beside)["LoRA (matched, K=0.5)"] == "worse"


def test_like_is_set_against_like_where_an_option_makes_rows(answered):
    spec = TableSpec(name="toy", title="Toy", apart={"layers": {"all": "all", "some": "some"}})
    made = []
    for seed in range(3):
        for layers, chance in (("all", 0.8), ("some", 0.2)):
            options = {"layers": layers}
            made.append(answered("lora", seed, options=options, mawps=chance))
            made.append(answered("dora", seed, options=options, mawps=0.8))
    (section,) = build(made, spec).beside
    assert [(found.label, found.reference) for found in section.on("micro")] == [
        ("DoRA (all)", "LoRA (all)"),
        ("DoRA (some)", "LoRA (some)"),
    ]
    assert list(verdicts(section).values()) == ["not separated", "better"]


def test_without_lora_k_is_set_against_1(answered):
    made = [
        answered("hyplora", seed, curvature=k, mawps=chance)
        for seed in range(3)
        for k, chance in ((0.1, 0.3), (1.0, 0.8), (2.0, 0.8))
    ]
    (section,) = build(made, SPEC).beside
    assert section.heading == "Beside K=1.0"
    assert verdicts(section) == {"HypLoRA (K=0.1)": "worse", "HypLoRA (K=2.0)": "not separated"}


def test_nothing_to_set_rows_against_is_said(answered):
    table = build(runs(answered, {"dora": 0.8, "series": 0.3}), SPEC)
    assert table.beside == ()
    assert any(note.startswith("No verdicts: there is no LoRA") for note in table.notes)


def test_a_table_of_format_rates_has_neither_tests_nor_intervals(answered):
    table = build(runs(answered), TableSpec(name="toy", title="Toy", metric="format_rate"))
    assert table.beside == ()
    assert not any(note.startswith("No verdicts") for note in table.notes)


def test_not_separated_says_what_would(answered):
    chances = {"lora": 0.75, "dora": 0.72}
    (section,) = build(runs(answered, chances), SPEC).beside
    (found,) = section.on("micro")
    assert found.verdict == "not separated"
    assert "seeds" in found.would_separate or "items" in found.would_separate
