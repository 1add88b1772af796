"""The report on pretraining, from made-up records."""

import csv
import json
import re

import numpy as np
import pytest
from scipy import stats

from bench.report.pretraining import PretrainingSpec, pretraining_document, write_pretraining
from bench.report.pretraining.beside import beside_twins
from bench.report.pretraining.rows import comparable, rows_of
from bench.report.pretraining.spec import TWINS
from bench.report.render import markdown
from tests.report.pretraining_runs import made

SPEC = PretrainingSpec("helm", "HELM beside twins", published="helm")


def runs(worse=0.0, spread=0.0, seeds=(0, 1, 2)):
    """HELM-D, that needs more bits than LLaMA, and a spread between its seeds."""
    return [
        made(model, seed, 2.0 + (worse + spread * (seed - 1)) * (model == "helm_d"))
        for seed in seeds
        for model in ("llama_twin", "helm_d")
    ]


def difference(records):
    (found,) = beside_twins(rows_of(records, TWINS), TWINS)
    return found


def test_a_model_that_needs_more_bits_is_worse_and_one_that_needs_fewer_better():
    worse, better = difference(runs(0.05)), difference(runs(-0.05))
    assert worse.verdict == "worse" and better.verdict == "better"
    assert worse.difference == pytest.approx(0.05, abs=0.003)
    assert better.difference == pytest.approx(-0.05, abs=0.003)
    assert worse.low < worse.difference < worse.high < 0.06
    assert list(worse.by_seed.values()) == pytest.approx([0.05] * 3, abs=0.005)


def test_seeds_that_disagree_separate_nothing():
    found = difference(runs(0.05, spread=0.1))
    assert found.verdict == "not separated" and found.low < 0 < found.high


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"order": "another"}, "not trained on the same tokens"),
        ({"blocks": {"bits": [1.0, 2.0], "bytes": [1.0, 1.0]}}, "not the same held-out text"),
    ],
)
def test_runs_that_read_something_else_are_not_compared(change, why):
    records = runs(0.05)
    records[0]["training"] |= change
    found = difference(records)
    assert found.verdict == "not compared" and why in found.why and found.difference is None


def test_fewer_than_three_seeds_claim_nothing():
    found = difference(runs(0.5, seeds=(0, 1)))
    assert found.verdict == "not separated (seeds)" and "2 seeds in common" in found.why
    assert found.difference == pytest.approx(0.5, abs=0.005)


def test_the_interval_of_a_mean_is_students_over_seeds():
    rows = rows_of([made("helm_d", seed, bits) for seed, bits in enumerate((2.0, 2.1, 2.2))], TWINS)
    low, high = rows[0].interval
    bits = rows[0].bits
    reach = 4.302653 * np.std(bits, ddof=1) / np.sqrt(3)
    assert (low, high) == pytest.approx((np.mean(bits) - reach, np.mean(bits) + reach))
    assert rows_of([made("helm_d")], TWINS)[0].interval is None


def test_settings_that_differ_make_rows_and_are_set_beside_their_like():
    records = runs(0.05) + [
        made(model, seed, 2.5, train=made("helm_d")["train"] | {"lr": 1e-3})
        for seed in range(3)
        for model in ("llama_twin", "helm_d")
    ]
    records += [made("helm_d", s, 2.2, choices={"merge": "centroid"}) for s in range(3)]
    rows = rows_of(records, TWINS)
    assert "HELM-D (lr=0.002, merge=centroid)" in [row.label for row in rows]
    found = beside_twins(rows, TWINS)
    assert [(each.row.details["lr"], each.twin.details["lr"]) for each in found] == [
        (0.002, 0.002),
        (0.001, 0.001),
        (0.002, 0.002),
    ]
    assert [len(group) for group in comparable(records)] == [15]


def test_each_model_may_have_a_learning_rate_of_its_own():
    records = [
        made(model, seed, train=made(model)["train"] | {"lr": lr})
        for seed in range(3)
        for model, lr in (("helm_d", 4e-3), ("llama_twin", 2e-3))
    ]
    rows = rows_of(records, TWINS)
    assert [row.label for row in rows] == ["HELM-D", "LLaMA"]
    (found,) = beside_twins(rows, TWINS)
    assert found.twin is rows[1] and found.difference is not None
    text = markdown(pretraining_document(records, SPEC))
    assert "learning rate 0.004 (HELM-D), 0.002 (LLaMA)" in text


def test_a_model_stands_in_front_of_its_twin():
    names = ("deepseek_twin", "llama_twin", "mine", "helm_mice", "helm_d")
    rows = rows_of([made(name) for name in names], TWINS)
    assert [row.label for row in rows] == ["HELM-D", "LLaMA", "HELM-MiCE", "DeepSeek-V3", "mine"]


def test_the_words_follow_the_figures():
    four = runs(0.05) + [
        made(model, seed) for seed in range(3) for model in ("helm_mice", "deepseek_twin")
    ]
    text = markdown(pretraining_document(four, SPEC))
    assert re.search(r"HELM-D beside LLaMA: worse\. It needs 0\.0\d+ bits per byte more", text)
    assert "HELM-MiCE beside DeepSeek-V3: not separated" in text
    assert "0.50 times the tokens a second" in text
    assert "moved by 10.0% of where they began" in text
    assert "public initialisation" in text and "so that all tokens look alike" in text
    assert "All of these lie within 4 points of what guessing gets" in text
    assert "five entries average 22.94" in text
    better = markdown(pretraining_document(runs(-0.05), SPEC))
    assert re.search(r"better\. It needs 0\.0\d+ bits per byte fewer \(2\.\d%\)", better)


def test_everything_is_written_and_unrounded_figures_with_it(tmp_path):
    four = runs(0.05) + [made("helm_mice", seed) for seed in range(3)]
    paths = write_pretraining(four, SPEC, tmp_path)
    assert [path.name for path in paths] == [
        *(f"helm.{end}" for end in ("md", "csv", "json", "tex")),
        *(f"helm_{name}.{end}" for name in ("bits", "layers") for end in ("svg", "png")),
    ]
    assert all(path.stat().st_size > 500 for path in paths)
    with (tmp_path / "tables/helm.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9 and float(lines[0]["bits_per_byte"]) == rows_of(four, TWINS)[0].bits[0]
    data = json.loads((tmp_path / "tables/helm.json").read_text())
    assert data["differences"][0]["verdict"] == "worse"
    assert data["rows"][0]["runs"][0]["identity"] == lines[0]["identity"]


def asked(**accuracies):
    tasks = {
        name: {"n": 50, "fewshot": 0, "metrics": {"acc": {"value": value, "stderr": 0.01}}}
        for name, value in accuracies.items()
    }
    return {"all": {"tasks": tasks, "asked": {}}}


def test_tasks_of_lm_eval_stand_with_their_interval_over_seeds_and_chance():
    made_of = runs()
    for number, run in enumerate(made_of):
        run["lm_eval"] = asked(hellaswag=0.25 + 0.01 * number, own_task=0.5)
    section = next(
        s for s in pretraining_document(made_of, SPEC).sections if s.heading == "Tasks of lm-eval"
    )
    rows = {row[2]: row for row in section.rows[:3]}
    assert rows["LLaMA"][:2] != rows["HELM-D"][:2] == ("hellaswag", "acc")
    values = [
        100 * run["lm_eval"]["all"]["tasks"]["hellaswag"]["metrics"]["acc"]["value"]
        for run in made_of
        if run["model"] == "helm_d"
    ]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert rows["HELM-D"][3:] == (f"{np.mean(values):.1f}", f"{low:.1f} to {high:.1f}", "3", "50")
    assert rows["chance"][3] == "25.0"
    assert "chance" not in [
        row[2] for row in section.rows[3:]
    ]  # nobody knows that of a task of one's own
    assert not any(
        s.heading == "Tasks of lm-eval" for s in pretraining_document(runs(), SPEC).sections
    )


def test_a_single_twin_alone_makes_a_report(tmp_path):
    assert write_pretraining([made("llama_twin")], SPEC, tmp_path)
    with pytest.raises(ValueError, match="no run"):
        pretraining_document([], SPEC)


def test_published_averages_are_set_beside_the_mean_of_their_entries():
    text = markdown(pretraining_document(runs(), SPEC))
    assert "| DeepSeekV3 | 120M | 19.3 | 25.3 | 24.0 | 23.9 | 22.2 | 22.2 | 22.94 |" in text
    assert "| Chance |  | 20.0 | 25.0 | 25.0 | 25.0 | 25.0 | - | 24.00 |" in text


def test_a_name_for_no_file_is_refused():
    with pytest.raises(ValueError, match="it names files"):
        PretrainingSpec("../x", "title")
