"""action=pretrain from the command line: recorded, cached, resumed, and used as a base."""

import importlib.util
import json
import re
import shutil

import pytest

from bench.data.tokens import Tokens
from bench.identity import identity_of_record
from bench.sweep.objectives import VALIDATION_LOSS
from tests.helpers import interrupted, records_of, refused

QUICK = (
    "action=pretrain",
    "action.steps=2",
    "action.step_tokens=128",
    "action.row_tokens=64",
    "action.documents=20",
    "action.validation=0.2",
    "action.test=0.2",
    "action.evaluations=1",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One folder for all."""
    return tmp_path_factory.mktemp("results")


def records(results, model):
    return [record for record in records_of(results) if record["model"] == model]


def model_folder(results, record):
    return results / "runs" / record["identity"][:12] / "model"


def test_a_pretrained_base_is_recorded_once_and_fine_tuned_as_any_other(inline, small, results):
    arguments = (*QUICK, "model=helm_d")
    first = inline(*arguments, results=results)
    assert first.code == 0, first.stderr
    assert "helm_d tiny seed 0:" in first.stdout and "took" in first.stdout
    (record,) = records(results, "helm_d")
    assert record["kind"] == "pretrain" and record["training"]["tokens"] == 256
    assert record["identity"] == identity_of_record(record)
    assert set(record["training"]["initialisations"]) == {"public", "balanced"}
    same = ("action.checkpoint_minutes=3", "action.micro_rows=1")  # these change no result
    again = inline(*arguments, *same, results=results)
    assert again.code == 0 and "(cached)" in again.stdout
    folder = model_folder(results, record)
    assert folder.is_dir() and not (folder.parent / "checkpoint").exists()
    base = ("model=local", f"model.path={folder}")
    tuned = inline("method=lora", *base, "train.lr=1e-3", *small, results=results)
    assert tuned.code == 0, tuned.stderr
    exported = inline("action=export", f"action.run={folder.parent}", results=results)
    refused(exported, "is a pretraining run without an adapter")
    shutil.rmtree(folder)
    gone = inline(*arguments, results=results)
    assert "its folder no longer exists: force=true" in gone.stdout


def test_a_run_killed_after_its_training_is_evaluated_without_training_again(
    inline, results, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("bench.pretraining.measures.evaluate", interrupted)
        assert inline(*QUICK, "model=llama_twin", results=results).code == 130
    assert not records(results, "llama_twin")
    monkeypatch.setattr("bench.training.pretrain.Pretraining.training_step", interrupted)
    assert inline(*QUICK, "model=llama_twin", results=results).code == 0
    (record,) = records(results, "llama_twin")
    assert record["training"]["bits_per_byte"] > 0


def test_a_run_for_choosing_settings_reads_no_test_document(inline, results, monkeypatch):
    read, tokens = set(), []

    def document(self, index, original=Tokens.document):
        read.add(index)
        tokens.append(self)
        return original(self, index)

    monkeypatch.setattr(Tokens, "document", document)
    run = (*QUICK, "model=llama_twin", "seed=4")
    chosen = inline(*run, "evaluation.split=validation", "action.warmup=0.5", results=results)
    assert chosen.code == 0, chosen.stderr
    parts = tokens[0].parts
    assert not read & set(parts["test"]) and set(parts["validation"]) <= read
    (record,) = (r for r in records(results, "llama_twin") if r["seed"] == 4)
    assert record["split"] == "validation" and record["train"]["warmup"] == 0.5
    bits, sizes = (sum(record["training"]["blocks"][key]) for key in ("bits", "bytes"))
    assert VALIDATION_LOSS.value(record) == pytest.approx(bits / sizes, abs=1e-4)
    assert sizes == record["text"]["validation"]["bytes"] == sum(
        tokens[0].sizes[parts["validation"]]
    )  # fmt: skip
    assert inline(*run, results=results).code == 0
    assert set(parts["test"]) <= read
    tested = next(r for r in records(results, "llama_twin") if r["split"] == "test")
    with pytest.raises(ValueError, match=r"test documents.*evaluation\.split=validation"):
        VALIDATION_LOSS.value(tested)


def test_models_of_ones_own_text_are_rows_of_a_table(inline, results, tmp_path, sketched):
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text(f"Page {number} is about {number} apples. " * 3)
    words = (*QUICK, "data=text", f"data.path={folder}", "model=llama_twin,helm_d")
    result = inline("-m", *words, "hydra/launcher=basic", results=results)
    assert result.code == 0, result.stderr
    assert "2 different runs: 2 done now, 0 cached, 0 failed" in result.stdout
    assert "HELM-D vs. LLaMA: n.s. (too few seeds), 1 common seed" in result.stdout
    plan = inline("-m", *words, "plan=true", results=results)
    assert "2 of 2 runs cached, 0 pending." in plan.stdout
    report = inline("action=report", results=results)
    assert report.code == 0 and "pretraining runs, 2 of 2 runs" in report.stdout
    tables = (results / "tables").glob("pretraining*.md")
    assert any("own text" in table.read_text() for table in tables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=tiny"], "model=tiny is a base with weights"),
        (["model=helm_d", "size=2m"], "no size '2m': use one of tiny, 120m, 1b"),
        (["model=helm_d", "data=math10k"], "data to pretrain on"),
        (["model=helm_d", "data=text"], "data.path"),
        (["model=helm_d", "+model.wings=2"], "unknown key in model 'wings'"),
        (["model=helm_d", "+model.dtype=float16"], "unknown key in model 'dtype'"),
        (["model=helm_d", "+model.merge=sum"], "'merge' expected one of"),
        (["model=helm_d", "action.row_tokens=2048"], "than the 1024 positions"),
        (["model=helm_d", "model.tokenizer=/nowhere"], "not a folder with a"),
        (["model=helm_d", "action.step=3"], "step"),
        (["model=helm_d", "evaluation.split=none"], "Known: test, validation"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_message(inline, tmp_path, arguments, message):
    refused(inline("action=pretrain", *arguments), message, results=tmp_path / "results")


def test_a_text_too_short_is_refused_and_leaves_no_run(inline, results, tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("A single document.")
    before = set(results.glob("runs/*"))
    result = inline(*QUICK, "model=helm_d", "data=text", f"data.path={path}", results=results)
    refused(result, "the text is too short")
    assert set(results.glob("runs/*")) == before


CHOICE = """
task: own_choice
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_a_finished_model_is_asked_further_tasks_without_being_pretrained_again(
    inline, results, tmp_path, monkeypatch
):
    rows = [{"question": f"{i}+1=", "answer": 0, "choices": [f"{i + 1}", "no"]} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.yaml").write_text(CHOICE.replace("ROWS", str(tmp_path / "rows.jsonl")))
    asked = ("evaluation.lm_eval=[own_choice]", f"evaluation.lm_eval_include={tmp_path}")
    run = (*QUICK, "model=helm_d", "seed=3")
    assert inline(*run, results=results).code == 0

    monkeypatch.setattr("bench.training.pretrain.Pretraining.training_step", interrupted)
    result = inline(*run, *asked, results=results)
    assert result.code == 0, result.stderr
    assert re.search(r"\(cached\), own_choice acc [01]\.\d{3} -> ", result.stdout)
    (record,) = (r for r in records(results, "helm_d") if r["seed"] == 3)
    found = record["lm_eval"]["own_choice"]["tasks"]["own_choice"]
    assert found["n"] == 4 and 0 <= found["metrics"]["acc"]["value"] <= 1
    again = inline(*run, *asked, results=results)
    assert "(cached)" in again.stdout
    assert inline(*run, *asked, "evaluation.lm_eval_limit=2", results=results).code == 0
    (record,) = (r for r in records(results, "helm_d") if r["seed"] == 3)
    assert record["lm_eval"]["own_choice"]["tasks"]["own_choice"]["n"] == 2
    assert inline("action=report", "action.figures=0", results=results).code == 0
    assert "## Tasks of lm-eval" in (results / "tables/helm.md").read_text()
    shutil.rmtree(model_folder(results, record))
    gone = inline(*run, *asked, results=results)
    assert gone.code == 2 and "can't be evaluated on further tasks" in gone.stderr
