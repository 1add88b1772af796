"""What is published was tuned: each trained row of a committed table, at a rate inside its grid."""

import json

import pytest
from omegaconf import OmegaConf

from bench.config import PROJECT
from bench.names import method_label, model_label
from bench.report.spec import TWINS
from bench.sweep.rates import COMMITTED, Rates
from bench.tracking.sweeps import SweepRecord

RECORDS = PROJECT / "results" / "records"
# `tuned` searches its settings itself.
TABLES = [p.parent.name for p in sorted(RECORDS.glob("*/sweep.json")) if p.parent.name != "tuned"]


def sweep_of(table):
    return SweepRecord.from_json(json.loads((RECORDS / table / "sweep.json").read_bytes()))


@pytest.mark.parametrize("table", TABLES)
def test_every_trained_row_was_tuned_to_a_rate_inside_its_grid(table):
    rows = [row for row in sweep_of(table).rows if row.method != "none"]
    assert rows
    assert [row.label for row in rows if not (row.tuning and row.tuning["interior"])] == []


@pytest.mark.parametrize("table", TABLES)
def test_the_runs_of_a_table_have_the_settings_that_were_chosen(table, tmp_path):
    rates, seeds = Rates(table, tmp_path), set()
    for path in (RECORDS / table).glob("*.json"):
        record = json.loads(path.read_bytes())
        if path.name != "sweep.json" and record["seed"] is not None:
            chosen, how = rates.find(record)
            settings = {key: record["train"][key.rpartition(".")[2]] for key in chosen}
            assert settings == chosen
            seeds |= {record["seed"]}
            assert not seeds & set(how["seeds"])


@pytest.mark.parametrize(
    ("model", "tables"), [("tiny", ["table2", "ablation"]), ("smollm2-135m", ["smollm2"])]
)
def test_the_rates_of_single_runs_are_those_of_the_tables(compose, model, tables):
    methods = {path.stem: method_label(path.stem) for path in PROJECT.glob("conf/method/*.yaml")}
    chosen = {
        row["label"]: row["chosen"]["train.lr"]
        for table in tables
        for row in json.loads((COMMITTED / f"{table}.json").read_bytes())["rows"]
    }
    own = {method: chosen[label] for method, label in methods.items() if label in chosen}
    rates = {method: compose(f"method={method}", f"model={model}").train.lr for method in own}
    assert own and rates == own


def test_the_settings_of_single_pretrainings_are_those_of_the_table():
    names = [name for model, twins in TWINS.items() for name in (model, *twins)]
    rows = json.loads((COMMITTED / "helm.json").read_bytes())["rows"]
    chosen = {row["label"]: row["chosen"] for row in rows}
    assert chosen.keys() == set(map(model_label, names))
    for name in names:
        model = OmegaConf.load(PROJECT / "conf" / "model" / f"{name}.yaml")
        settings = {"action.lr": model.lr["tiny"], "action.warmup": model.warmup["tiny"]}
        assert settings == chosen[model_label(name)]
