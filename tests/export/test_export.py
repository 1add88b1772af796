"""Exported adapters: loading them, the model card, the files, and what is refused."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

import bench.experiment
from bench.config import PROJECT, read_experiment
from bench.errors import Failure, InputError
from bench.export.export import check_target, export
from bench.export.method_comparison import method_comparison
from bench.export.model_card import model_card
from bench.tracking.store import Store
from bench.training.adapters import load_adapter
from tests.helpers import composed, python

METHODS = ("lora", "hyplora")
FILES = {
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "export.json",
    "method_comparison.json",
    "record.json",
}
HOSTILE = "<script>alert(1)</script> [x](http://127.0.0.1) ``` \x1b[2J\n# heading"
PROMPT = "Mary has 7 books. Tom gives Mary 2 more."


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results folder of a short run of each method."""
    folder = tmp_path_factory.mktemp("export") / "results"
    arguments = [
        *("data.train=[mawps,SVAMP]", "data.tests=[mawps,SVAMP]", "data.train_size=4"),
        *("data.validation=2", "data.test_size=3", "train.epochs=1"),
        *("protocol.max_new_tokens=2", f"tracking.folder={folder}"),
    ]
    for method in METHODS:
        bench.experiment.run(read_experiment(composed(f"method={method}", *arguments)))
    return folder


@pytest.fixture(scope="module")
def runs(results):
    """The folder of each method's run."""
    return {read(path)["method"]: path.parent for path in results.glob("runs/*/record.json")}


@pytest.fixture
def record(runs):
    return read(runs["hyplora"] / "record.json")


@pytest.fixture(scope="module")
def store(results):
    return Store(results, None, "hyplora-bench")


@pytest.fixture
def exported(results, runs, store, tmp_path):
    """Export a method's run by its id, and return the folder."""

    def write(method="hyplora", name="out"):
        return export(runs[method].name, results, store, tmp_path / name)

    return write


def test_the_code_of_the_card_loads_the_same_model(exported, runs, fresh_tiny):
    base, tokenizer = fresh_tiny
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    script, expected = ["import hashlib, sys, torch"], []
    for method in METHODS:
        folder = exported(method, method)
        code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
        assert ("import bench.methods" in code) == (method == "hyplora")
        script += [
            code.replace("PATH/OF/THIS/FOLDER", str(folder)),
            f"logits = model(torch.tensor({ids.tolist()})).logits.detach()",
            "print(hashlib.sha256(logits.numpy().tobytes()).hexdigest())",
        ]
        if method == "lora":  # needs plain peft alone
            script += ["assert not [name for name in sys.modules if name.startswith('bench')]"]
            script += [f"sys.path.insert(0, {str(PROJECT)!r})"]
        model = load_adapter(base, runs[method] / "adapter")
        logits = model(ids).logits.detach()
        expected.append(hashlib.sha256(logits.numpy().tobytes()).hexdigest())
        base = model.unload()
    done = python("-P", "-c", "\n".join(script), PYTHONPATH="")
    assert done.stdout.split() == expected, done.stderr
    assert len(set(expected)) == len(METHODS)


def test_the_folder_has_all_files_with_hashes_and_no_local_path(exported, results):
    folder = exported()
    assert {path.name for path in folder.iterdir()} == FILES
    files = read(folder / "export.json")["files"]
    assert set(files) == FILES - {"export.json"}
    for name, digest in files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            text = path.read_text()
            assert not any(str(local) in text for local in (results, PROJECT, Path.home()))


def test_the_card_has_front_matter_scores_and_settings(exported, record):
    text = (exported() / "README.md").read_text()
    data = ModelCard(text).data
    assert data.base_model == "bench/models/tiny" and data.library_name == "peft"
    assert data.license == "unknown" and {"hyplora", "peft"} <= set(data.tags)
    assert [r.metric_type for r in data.eval_results] == ["accuracy", "accuracy"]
    assert data.eval_results[0].dataset_type == "synthetic-mawps"
    accuracy = record["scores"]["mawps"]["accuracy"]
    assert re.search(rf"\| MAWPS \| {accuracy:.1f} \| \d+\.\d to \d+\.\d \| 3 \|", text)
    for part in (
        record["hashes"]["base"],
        record["hashes"]["train"],
        "Question: {instruction}\nAnswer:",
        "single training run with seed 0",
        "do not cover variation between seeds",
        "Base: part of hyplora-bench, Apache-2.0",
        "Adapter: no license is given",
    ):
        assert part in text


def on_hub(record):
    changed = json.loads(json.dumps(record))
    changed["config"]["model"] |= {"name": "some", "path": "some/base", "revision": "main"}
    changed["config"]["data"] |= {"source": "llm_adapters", "root": "/home/me/LLM-Adapters"}
    return changed | {
        "model": "some",
        "base_commit": "c0ffee",
        "data": "llm_adapters",
        "hashes": record["hashes"] | {"base": "some/base@main"},
    }


def test_the_card_of_a_base_from_the_hub_names_its_commit(record):
    text = model_card(on_hub(record), ours=False, created_at=None)
    assert 'from_pretrained("some/base", revision="c0ffee", dtype="float32")' in text
    assert "Base: its license was not determined" in text and "Data: the licenses" in text
    assert "import bench" not in text and ModelCard(text).data.base_model == "some/base"


def test_the_card_has_what_applies_to_the_run(record):
    scores = record["scores"]
    scores["mawps"]["too_long"] = 2
    record["config"]["model"] |= {"path": "/models/mine", "quantization": "nf4"}
    record |= {
        "rows": record["rows"] | {"train_cut": 1234},
        "overlap": {"tests": {"mawps": {"masked": 3}, "SVAMP": {"masked": 2}}, "kept": False},
        "forgetting": {"before": {"nats_per_token": 1.0}, "after": {"nats_per_token": 1.5}},
        "data_files": {"train.json": "another version", "test.json": "the same"},
    }
    record["config"]["protocol"]["num_beams"] = 4
    text = model_card(record, ours=True, created_at="2026-01-01T00:00:00+00:00")
    for part in (
        "- Base: mine, a local folder; weights in nf4; sha256",
        "Replace mine by the path",
        "quantized to nf4",
        ", 1,234 truncated; sha256",
        "published tables: train.json\n- Overlap: 5 test rows",
        "rows were removed\n",
        "; started 2026-01-01",
        "beam search with 4 beams",
        "\n- 2 problems exceeded",
        "1.000 before, 1.500 after",
    ):
        assert part in text, part
    assert "\n\n\n" not in text


def test_names_in_a_card_are_escaped(record):
    record = on_hub(record)
    record |= {"method": HOSTILE, "model": HOSTILE, "protocol": HOSTILE, "device": HOSTILE}
    record["scores"]["mawps"]["label"] = HOSTILE
    record["config"]["data"]["train"] = [HOSTILE]
    record["config"]["protocol"]["evaluation_prompt"] = HOSTILE
    text = model_card(record, ours=False, created_at=None)
    assert "\x1b" not in text
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(ModelCard(text).text)
    kinds = {t.type for t in tokens} | {c.type for t in tokens for c in t.children or ()}
    assert not kinds & {"html_block", "html_inline", "link_open"}
    assert len([t for t in tokens if t.type == "fence"]) == 2
    assert [t.tag for t in tokens if t.type == "heading_open"].count("h1") == 1
    assert len([t for t in tokens if t.type == "tr_open"]) == 5


def test_method_comparison_has_pefts_fields_and_the_records_figures(exported, record):
    found = read(exported() / "method_comparison.json")
    assert list(found) == ["run_info", "train_info", "meta_info"]
    run, train, meta = found.values()
    assert run["experiment_name"] == "hyplora/tiny-K1-seed0" and run["error_msg"] == ""
    assert run["train_config"]["query_template"] == "Question: {query}\nAnswer:"
    assert run["peft_config"]["peft_type"] == "HYPLORA"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", run["created_at"])
    assert train["status"] == "success" and train["accelerator_memory_max"] is None
    assert train["train_time"] == record["seconds"]["finetune"]
    assert train["num_trainable_params"] == record["parameters"]["trainable"]
    *validations, test = train["metrics"]
    assert [m["valid loss"] for m in validations] == [
        loss for _, loss in record["training"]["validation"]
    ]
    assert test["test accuracy"] == pytest.approx(record["averages"]["micro"] / 100)
    assert test["step"] == record["training"]["steps"]
    assert meta["package_info"]["peft-version"] == record["versions"]["peft"]
    assert set(meta) == {
        "model_info", "dataset_info", "package_info", "system_info", "pytorch_info"
    }  # fmt: skip
    record["training"] |= {"kept_step": 2, "validation": [[2, 1.0], [3, 2.0]]}
    record["training"]["losses"] = [[0, 0.5], [1, 1.5], [2, 9.0]]
    kept = method_comparison(record, {}, 1, None)["train_info"]["metrics"][-1]
    assert (kept["step"], kept["train loss"]) == (2, 1.0)
    record["train"]["compile"] = True
    other = method_comparison(record, {}, 1, None)["run_info"]["train_config"]
    assert (other["compile"], run["train_config"]["compile"]) == (True, False)


def test_an_unchanged_export_is_replaced(exported, tmp_path):
    first = (exported() / "README.md").read_bytes()
    exported("lora")
    assert (exported() / "README.md").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_other_files_is_not_changed(exported, tmp_path):
    (tmp_path / "mine").mkdir()
    check_target(tmp_path / "mine")
    (tmp_path / "mine" / "thesis.tex").write_text("work")
    with pytest.raises(InputError, match="not written by an export"):
        exported(name="mine")
    folder = exported()
    (folder / "notes.txt").write_text("mine")
    (folder / "README.md").write_text("edited")
    with pytest.raises(InputError, match=r"README\.md, notes\.txt"):
        exported()
    assert (folder / "README.md").read_text() == "edited"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        exported(name="file")


def test_a_run_is_given_by_folder_adapter_prefix_or_id_in_the_store(results, runs, store, tmp_path):
    run = runs["lora"]
    run_id = read(run / "record.json")["run_id"]
    identities = set()
    for number, given in enumerate((run, run / "adapter", run.name[:6], run_id)):
        folder = export(str(given), results, store, tmp_path / str(number))
        identities.add(read(folder / "export.json")["identity"])
    assert len(identities) == 1
    folder = export(str(run), results, None, tmp_path / "without a store")
    assert read(folder / "method_comparison.json")["run_info"]["created_at"] is None


def test_a_run_without_a_folder_comes_from_the_store(exported, runs, tmp_path):
    kept = exported("lora", "kept")
    moved = shutil.move(runs["lora"], tmp_path / "moved")
    try:
        fetched = exported("lora", "fetched")
    finally:
        shutil.move(moved, runs["lora"])
    for path in kept.iterdir():
        assert (fetched / path.name).read_bytes() == path.read_bytes()


def test_an_unknown_run_is_refused_with_the_nearest_id(inline, results, runs, store, tmp_path):
    near = runs["lora"].name
    wrong = near[:-1] + ("0" if near[-1] != "0" else "1")
    for given, message in (
        (wrong, f"Did you mean {near}"),
        ("ab", "too short"),
        (str(results), "record.json is missing or damaged"),
    ):
        with pytest.raises(InputError, match=message):
            export(given, results, store, tmp_path / "out")
    for given, message in (("", "action.run is missing"), ("abcdef", "run something first")):
        refused = inline("action=export", f"action.run={given}", results=tmp_path / "none")
        assert (refused.code, message in refused.stderr) == (2, True), refused
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"train": 0}}, "was not trained and has no adapter"),
        ({"kind": "pretrain"}, "is a pretraining run"),
        ({"scores": None}, "has no scores"),
        ({"split": "validation"}, "export the same run with evaluation.split=test"),
    ],
)
def test_a_record_without_an_adapter_or_incomplete_is_refused(
    record, results, tmp_path, changes, message
):
    (tmp_path / "record.json").write_text(json.dumps(record | changes))
    with pytest.raises(InputError, match=message):
        export(str(tmp_path), results, None, tmp_path / "out")


def test_a_damaged_or_missing_adapter_fails(runs, tmp_path, results):
    run = shutil.copytree(runs["lora"], tmp_path / "run")
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(Failure, match="is damaged"):
        export(str(run), results, None, tmp_path / "out")
    shutil.rmtree(run / "adapter")
    with pytest.raises(Failure, match="is missing"):
        export(str(run), results, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
