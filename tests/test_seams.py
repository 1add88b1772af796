"""A method, a protocol, a table and a benchmark are each added by files of their own alone.

Toy ones are put into a copy of the checkout, in which nothing else is edited, and run together
through the main command.
"""

import json
from types import SimpleNamespace

import pytest

from tests.helpers import python, records_of

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
items: {buttons: 5}
averages: {micro: AVG}
rows:
- base: Toy-1B
  method: toy
  origin: paper
  params_percent: 0.5
  buttons: 61.7
  micro: 61.7
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


def write_buttons(folder):
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
    folder.mkdir(parents=True)
    (folder / "train.json").write_text(json.dumps(train))
    (folder / "test.json").write_text(json.dumps(test))


@pytest.fixture(scope="module")
def swept(checkout, tmp_path_factory):
    """The copy after the toy table's sweep, and the records by method."""
    project, data = checkout(METHOD | PROTOCOL | TABLE | BENCHMARK), tmp_path_factory.mktemp("data")
    write_buttons(data / "dataset" / "Buttons")
    words = (
        *("+sweep=toys", "protocol=terse", "hydra/launcher=basic", "train.epochs=1"),
        *("data=llm_adapters", f"data.root={data}", "data.validation=1"),
        *("data.train=[buttons]", "data.tests=[buttons]"),
    )
    result = python("bench/run.py", *words, cwd=project, PYTHONPATH="")
    assert result.returncode == 0, result.stderr
    # The results lie in the copy, so its code is what ran.
    records = {record["method"]: record for record in records_of(project / "results")}
    return SimpleNamespace(project=project, records=records)


def test_a_method_is_one_module_and_one_yaml(swept):
    toy = swept.records["toy"]
    assert toy["options"] == {"target_modules": ["k_proj", "v_proj"]}
    assert toy["train"]["lr"] == 1e-2 and toy["training"]["losses"]
    (saved,) = swept.project.glob("results/runs/*/adapter/adapter_config.json")
    assert json.loads(saved.read_text())["peft_type"] == "IA3"
    base = json.loads((swept.project / "bench/models/tiny/config.json").read_text())
    width = base["num_key_value_heads"] * base["head_dim"]
    assert toy["parameters"]["trainable"] == 2 * width * base["num_hidden_layers"]


def test_a_protocol_is_one_yaml(swept):
    assert {record["protocol"] for record in swept.records.values()} == {"terse"}
    texts = [p.read_text() for p in swept.project.glob("results/runs/*/predictions.jsonl")]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    assert len(lines) == 10 and max(line["tokens"] for line in lines) == 3


def test_a_benchmark_is_one_file_and_its_data(swept):
    toy = swept.records["toy"]
    assert toy["rows"]["train"] == 8
    assert toy["scores"]["buttons"]["n"] == 5 and toy["scores"]["buttons"]["label"] == "Buttons!"


def test_a_table_is_one_sweep_file_and_its_published_figures(swept):
    tables = swept.project / "results" / "tables"
    assert {path.name for path in tables.iterdir()} == {
        f"toys.{end}" for end in ("md", "csv", "json", "tex")
    }
    text = (tables / "toys.md").read_text()
    assert "A table of toys" in text and "the toy paper's Table 7" in text
    assert "61.7" in text and "Toy-1B" in text and "Buttons!" in text
    for row in ("base model", "toy"):
        assert f"| {row} |" in text
