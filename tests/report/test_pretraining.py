"""The report on pretraining, from made-up records."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.report.formats import to_markdown
from bench.report.pretraining.comparisons import comparisons_of, linearised
from bench.report.pretraining.figures import bits_figure
from bench.report.pretraining.report import pretraining_report
from bench.report.pretraining.tables import bits_per_byte
from bench.report.selection import Group, Missing
from bench.report.spec import PretrainingSpec
from bench.tracking.sweeps import Contrast
from tests.report.pretraining_runs import PART, made
from tests.report.score_runs import made_selection

SPEC = PretrainingSpec("helm", "HELM vs. twins", published="helm")
LABELS = {"helm_d": "HELM-D", "llama_twin": "LLaMA", "helm_mice": "HELM-MiCE"}


def selected(records):
    """The selection of records with one setting per model; each model has a twin."""
    models = dict.fromkeys(record["model"] for record in records)
    groups = tuple(
        Group(model, LABELS.get(model, model), tuple(r for r in records if r["model"] == model))
        for model in models
    )
    contrasts = tuple(Contrast("vs. Euclidean twin", *pair) for pair in SPEC.pairs)
    return made_selection(SPEC, groups, contrasts)


def runs(worse=0.0, spread=0.0, seeds=(0, 1, 2)):
    """HELM-D, which needs more bits than LLaMA, and a spread between its seeds."""
    return [
        made(model, seed, 2.0 + (worse + spread * (seed - 1)) * (model == "helm_d"))
        for seed in seeds
        for model in ("helm_d", "llama_twin")
    ]


def difference(records):
    (found,) = comparisons_of(selected(records))
    return found


def report(records):
    selection = selected(records)
    return pretraining_report(selection, comparisons_of(selection))


def table(records, key):
    tables = report(records).tables
    return next((table for table in tables if table.key == key), None)


def test_a_model_that_needs_more_bits_is_worse_and_one_that_needs_fewer_better():
    worse, better = difference(runs(0.05)), difference(runs(-0.05))
    assert worse.verdict == "worse" and better.verdict == "better"
    assert worse.difference == pytest.approx(0.05, abs=0.003)
    assert better.difference == pytest.approx(-0.05, abs=0.003)
    assert worse.low < worse.difference < worse.high < 0.06
    assert list(worse.by_seed.values()) == pytest.approx([0.05] * 3, abs=0.005)


def test_curves_of_seeds_that_were_evaluated_at_other_steps_have_a_mean_where_they_meet():
    first, second = made("helm_d", 0), made("helm_d", 1)
    first["training"] |= {"validation": [[10, 3.0], [20, 2.0]]}
    second["training"] |= {"validation": [[5, 4.0], [20, 1.0]]}
    groups = selected([first, second]).groups
    facts = bits_figure(groups, ()).spec["data"]["values"]
    assert [fact["bits"] for fact in facts if "bits" in fact] == [1.5]
    assert sorted(fact["of seed"] for fact in facts if "seed" in fact) == [1.0, 2.0, 3.0, 4.0]


def test_one_seed_has_no_note_on_the_test():
    assert "degrees of freedom" not in to_markdown(report(runs(seeds=(0,))))
    assert "degrees of freedom" in to_markdown(report(runs()))


def test_missing_runs_are_noted():
    asked = selected(runs())
    lacking = replace(asked, missing=(Missing("HELM-MiCE", (0, 1)),), total=8)
    notes = pretraining_report(lacking, comparisons_of(lacking)).tables[0].notes
    assert notes[0] == ("Incomplete: 6 of 8 runs have finished. Missing: HELM-MiCE (seeds 0, 1).")


def test_seeds_that_disagree_are_not_significant():
    found = difference(runs(0.05, spread=0.1))
    assert found.verdict == "n.s." and found.low < 0 < found.high


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"order": "another"}, "not trained on the same tokens"),
        ({"blocks": {"bits": [1.0, 2.0], "bytes": [1.0, 1.0]}}, "not the same documents"),
        ({"text": {"test": PART | {"sha256": "e" * 64}}}, "not the same documents"),
    ],
)
def test_runs_on_other_text_are_not_compared(change, why):
    records = runs(0.05)
    for facts in (records[0], records[0]["training"]):
        facts |= {key: value for key, value in change.items() if key in facts}
    found = difference(records)
    assert found.verdict == "not compared" and why in found.why and found.difference is None


def documents(count=400, seed=0):
    """Lengths of documents, and the bits of two models that need 1.9 and 2 per byte of them."""
    rng = np.random.default_rng(seed)
    sizes = rng.lognormal(5, 1, count).round() + 1
    shared = rng.normal(0, 0.3, count)
    rates = (base + shared + rng.normal(0, 0.1, count) for base in (1.9, 2.0))
    return sizes, *(rate * sizes for rate in rates)


def test_linearised_bits_have_the_ratio_as_mean_and_its_variance():
    sizes, *both = documents()
    ours, theirs = (linearised(bits, sizes) for bits in both)
    assert ours.mean() == pytest.approx(both[0].sum() / sizes.sum())
    found = stats.sem(ours - theirs)
    # The jackknife of the difference of the ratios, which linearises nothing.
    left = sizes.sum() - sizes
    without = [(bits.sum() - bits) / left for bits in both]
    jackknife = np.sqrt(len(sizes) - 1) * np.std(without[0] - without[1])
    assert found == pytest.approx(jackknife, rel=0.05)
    by_mean = (both[0] - both[1]) / sizes.mean()  # ignores that documents differ in length
    assert stats.sem(by_mean) > 1.1 * found


def test_a_constant_difference_per_byte_does_not_vary_with_the_length_of_documents():
    sizes, bits, _ = documents()
    differences = linearised(bits + 0.1 * sizes, sizes) - linearised(bits, sizes)
    assert differences == pytest.approx(np.full(len(sizes), 0.1))


def test_fewer_than_three_seeds_claim_nothing():
    found = difference(runs(0.5, seeds=(0, 1)))
    assert found.verdict == "n.s. (too few seeds)" and "2 common seeds" in found.why
    assert found.difference == pytest.approx(0.5, abs=0.005)


def test_the_interval_of_a_mean_is_students_over_seeds():
    values = (2.0, 2.1, 2.2)
    (row,) = selected([made("helm_d", seed, bits) for seed, bits in enumerate(values)]).groups
    cell = bits_per_byte(row)
    bits = [run.value for run in cell.runs]
    expected = stats.t.interval(0.95, 2, np.mean(bits), stats.sem(bits))
    assert (cell.low, cell.high) == pytest.approx(expected)
    (single,) = selected([made("helm_d")]).groups
    assert bits_per_byte(single).low is None


def test_a_model_is_compared_with_each_of_its_twins_as_one_family():
    records = runs(-0.05) + [made("llama_twin_matched", seed, 1.95) for seed in range(3)]
    plain, matched = comparisons_of(selected(records))
    assert (plain.reference, matched.reference) == ("llama_twin", "llama_twin_matched")
    assert plain.verdict == "better" and matched.verdict == "n.s."
    assert plain.p_holm == pytest.approx(2 * plain.p)


def asked(**accuracies):
    tasks = {
        name: {"n": 50, "fewshot": 0, "metrics": {"acc": {"value": value, "stderr": 0.01}}}
        for name, value in accuracies.items()
    }
    return {"all": {"tasks": tasks, "asked": {}}}


def test_tasks_of_lm_eval_have_an_interval_over_seeds_and_chance():
    records = runs()
    for number, run in enumerate(records):
        run["lm_eval"] = asked(hellaswag=0.25 + 0.01 * number, own_task=0.5)
    cells = {row.names[::2]: row.cells["value"] for row in table(records, "tasks").rows}
    values = [
        100 * run["lm_eval"]["all"]["tasks"]["hellaswag"]["metrics"]["acc"]["value"]
        for run in records
        if run["model"] == "helm_d"
    ]
    found = cells["hellaswag", "HELM-D"]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert found.n == 50 and cells["hellaswag", "chance"].value == 25.0
    assert ("own_task", "chance") not in cells
    assert table(runs(), "tasks") is None


def test_a_single_model_makes_a_report_and_none_does_not():
    assert report([made("llama_twin")])
    with pytest.raises(ValueError, match="no finished pretraining run"):
        report([])


def test_a_name_that_is_no_file_name_is_refused():
    with pytest.raises(ValueError, match="use letters, digits"):
        PretrainingSpec("../x", "title")
