"""A search: which study it belongs to, what it refuses, and how its trials end."""

import copy
import json
import math
from dataclasses import replace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from bench.errors import InputError
from bench.report.records import tuning_key
from bench.sweep.rates import Rates, Try, TunedRow, Tuning
from bench.sweep.search import Search, Settings
from bench.sweep.space import read_space
from tests.helpers import planner


@pytest.fixture
def search(tmp_path):
    """A function that makes a search of two trials, by default over a curvature."""
    own = copy.copy(planner())
    own.tracking = replace(own.tracking, folder=str(tmp_path))

    def make(*words, rates=None, count=2, sampler="tpe", **settings):
        words = words or ("curvature=0.5,1",)
        parsed = OverridesParser.create().parse_overrides(["method=hyplora", *words])
        space = read_space(parsed, grid=sampler == "grid")
        own.rates = rates
        given = {"objective": "validation_loss", "n_jobs": 1, **settings}
        return Search("search", space, Settings(
            **given, sampler=sampler, n_trials=count, max_retries=1), own)  # fmt: skip

    return make


def test_a_study_belongs_to_the_runs_of_its_trials(search, tmp_path):
    first = search()
    key = tuning_key(first.known[0].planned, ("train.lr",))
    tries = (Try({"train.lr": 0.123}, (1.0,), ("",)),)
    tuning = Tuning("toy", (7,), ("train.lr",), (TunedRow(key, "HypLoRA", tries),))
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning" / "toy.json").write_text(json.dumps(tuning.to_json()))
    others = [
        search(rates=Rates("toy", tmp_path)),
        search("curvature=0.5,1", "train.epochs=2"),
        search(direction="maximize"),
    ]
    assert search(count=5).name == first.name
    assert len({first.name, *(other.name for other in others)}) == 4
    assert {other.lock for other in others} == {first.lock}  # they share a database


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train.validate_every=80",), r"give train\.validate_every=null"),
        (("data.validation=0",), "with train.validations=0 or data.validation=0"),
    ],
)
def test_trials_without_a_validation_loss_at_the_end_are_refused(search, words, message):
    with pytest.raises(InputError, match=message):
        search("curvature=0.5,1", *words)


def test_a_latency_over_a_key_that_makes_no_run_of_its_own_is_refused(search):
    with pytest.raises(InputError, match=r"evaluation\.batch_size changes no result in float32"):
        search("evaluation.batch_size=2,4", objective="latency")
    assert search("evaluation.batch_size=2,4", "evaluation.dtype=bfloat16", objective="latency")


class Diverging:
    """Ends each job as a run whose loss is not finite."""

    def __init__(self, **end):
        self.end = end

    def run(self, jobs):
        for job in jobs:
            vars(job).update(self.end)


@pytest.mark.parametrize(
    "end",
    [
        {"failure": "FloatingPointError: the loss is nan"},
        {"record": {"training": {"validation": [[3, math.nan]], "kept_step": 3}}},
        {"record": {"training": {"validation": [[3, 1.0]], "kept_step": 4}}},
    ],
)
def test_a_trial_that_diverges_is_not_tried_again(search, end):
    diverging = search(sampler="grid")
    diverging.run(Diverging(**end))
    assert [trial.state.name for trial in diverging.study.trials] == ["PRUNED"] * 2
    assert all(job.pruned for job in diverging.jobs.values())
    assert diverging.left() == 0


def test_cached_trials_take_no_place_among_those_that_run_at_once(search):
    three = search("curvature=0.5,1,2", sampler="grid", n_jobs=2)
    record = {"training": {"validation": [[3, 1.0]], "kept_step": 3}}
    planned, batches = three.planner.job, []

    def job(overrides, differs):
        found = planned(overrides, differs)
        found.record = record if found.planned["curvature"] == 0.5 else None
        return found

    class Finishing:
        def run(self, jobs):
            batches.append([job.planned["curvature"] for job in jobs])
            for job in jobs:
                job.record = record

    three.planner.job = job
    three.run(Finishing())
    assert [batch for batch in batches if batch] == [[1.0, 2.0]]
    assert sorted(three.jobs) == [0, 1, 2]
