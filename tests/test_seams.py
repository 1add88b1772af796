"""A method, a protocol, a table and a benchmark are each added by files of their own alone.

Toy ones are put into a copy of the checkout, in which nothing else is edited, and run through the
main command.
"""

import json
import os
import subprocess
import sys

import pytest

SMALL = (
    "data.train=[mawps,SVAMP]",
    "data.tests=[mawps,SVAMP]",
    "data.train_size=16",
    "data.validation=4",
    "data.test_size=6",
    "train.epochs=1",
)

METHOD = {
    "bench/methods/toy.py": '''\
"""(IA)^3 (Liu et al. 2022): peft's own."""

from peft import IA3Config


def config(options):
    return IA3Config(task_type="CAUSAL_LM", feedforward_modules=[], **options)
''',
    "conf/method/toy.yaml": """\
name: toy
module: toy
trained: true
target_modules: [k_proj, v_proj]
lr:
  tiny: 1e-2
""",
}
PROTOCOL = {
    "conf/protocol/terse.yaml": """\
defaults: [fast, _self_]
name: terse
train_prompt: "{instruction} ="
evaluation_prompt: "{instruction} ="
max_new_tokens: 3
""",
}
TABLE = {
    "sweeps/toys.yaml": """\
# @package _global_
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      method: toy,none

model:
  published: Toy-1B

table:
  name: toys
  title: A table of toys
  note: the toy paper's Table 7
  published: toys
""",
    "results/published/toys.yaml": """\
title: Toys
paper: On toys
version: first
numbering: the toy paper's Table 7
sources: ["Table 7"]
runs: single
items: {mawps: 238, SVAMP: 1000}
averages: {micro: AVG}
rows:
- base: Toy-1B
  method: toy
  origin: paper
  params_percent: 0.5
  mawps: 61.7
  SVAMP: 43.9
  micro: 47.3
""",
}
BENCHMARK = {
    "bench/tasks/buttons.py": '''\
"""Buttons: sums that are asked for in words; its training rows have a form of their own."""

from bench.tasks.task import Task


def train_row(raw):
    return {
        "instruction": raw["ask"],
        "input": "",
        "output": f"The answer is {raw['sum']}.",
        "answer": str(raw["sum"]),
    }


TASK = Task(key="buttons", label="Buttons!", chance=12.5, train_row=train_row)
''',
}


def run(project, *arguments):
    """The main command of a copy. Its results lie in the copy, so its code is what ran."""
    result = subprocess.run(
        [sys.executable, "bench/run.py", *arguments],
        cwd=project,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    assert list((project / "results" / "runs").glob("*/record.json")), result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def swept(checkout):
    """The copy in which the toy method was run by the toy table with the toy protocol."""
    project = checkout(METHOD | PROTOCOL | TABLE)
    run(project, "+sweep=toys", "protocol=terse", *SMALL)
    return project


@pytest.fixture(scope="module")
def records(swept):
    found = [json.loads(p.read_text()) for p in swept.glob("results/runs/*/record.json")]
    return {record["method"]: record for record in found}


def test_a_method_is_one_module_and_one_yaml(swept, records):
    toy = records["toy"]
    assert toy["options"] == {"target_modules": ["k_proj", "v_proj"]}
    assert toy["train"]["lr"] == 1e-2 and toy["training"]["losses"]
    (saved,) = swept.glob("results/runs/*/adapter/adapter_config.json")
    assert json.loads(saved.read_text())["peft_type"] == "IA3"
    base = json.loads((swept / "bench/models/tiny/config.json").read_text())
    width = base["num_key_value_heads"] * base["head_dim"]
    assert toy["parameters"]["trainable"] == 2 * width * base["num_hidden_layers"]


def test_a_protocol_is_one_yaml(swept, records):
    assert {record["protocol"] for record in records.values()} == {"terse"}
    texts = [p.read_text() for p in swept.glob("results/runs/*/predictions.jsonl")]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    assert len(lines) == 24 and max(line["tokens"] for line in lines) == 3


def test_a_table_is_one_sweep_file_and_its_published_figures(swept):
    tables = swept / "results" / "tables"
    assert {path.name for path in tables.iterdir()} == {
        f"toys.{end}" for end in ("md", "csv", "json", "tex")
    }
    rows = json.loads((tables / "toys.json").read_text())["rows"]
    assert [row["label"] for row in rows] == ["base model", "toy"]
    text = (tables / "toys.md").read_text()
    assert "A table of toys" in text and "the toy paper's Table 7" in text
    assert "61.7" in text and "Toy-1B" in text


def test_a_benchmark_is_one_file_and_its_data(checkout, tmp_path):
    project = checkout(BENCHMARK)
    folder = tmp_path / "dataset" / "Buttons"
    folder.mkdir(parents=True)
    train = [{"ask": f"Sew {i} and {i + 3} on. Count them.", "sum": 2 * i + 3} for i in range(9)]
    test = [
        {
            "instruction": f"A coat has {i} buttons, a hat has {i + 1}. How many do both have?",
            "input": "",
            "output": "",
            "answer": str(2 * i + 1),
        }
        for i in range(5)
    ]
    (folder / "train.json").write_text(json.dumps(train))
    (folder / "test.json").write_text(json.dumps(test))
    run(
        project,
        "+sweep=table2",
        "hydra/launcher=basic",
        "method=lora",
        "seed=0",
        "data=llm_adapters",
        f"data.root={tmp_path}",
        "data.train=[buttons]",
        "data.tests=[buttons]",
        "data.validation=1",
        "train.epochs=1",
        "protocol.max_new_tokens=24",
    )
    (record,) = project.glob("results/runs/*/record.json")
    record = json.loads(record.read_text())
    assert record["rows"]["train"] == 8 and record["scores"]["buttons"]["n"] == 5
    header = next(
        line
        for line in (project / "results/tables/table2.md").read_text().splitlines()
        if line.startswith("| Method")
    )
    assert "Buttons!" in header
