"""An exported adapter: that others can load it, what its card says, and what is refused."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from bench.errors import InputError
from bench.export.export import check_target, export
from bench.export.model_card import model_card
from bench.tracking.store import Store
from bench.training.adapters import load_adapter

PROJECT = Path(__file__).resolve().parents[2]
METHODS = ("hyplora", "lora", "prefix")
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


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results folder of a few short runs."""
    folder = tmp_path_factory.mktemp("export") / "results"
    command = [
        *(sys.executable, "bench/run.py", "-m", f"method={','.join(METHODS)}"),
        *("data.train=[mawps,SVAMP]", "data.tests=[mawps,SVAMP]", "data.train_size=8"),
        *("data.validation=4", "data.test_size=3", "train.epochs=1"),
        *("protocol.max_new_tokens=6", f"tracking.folder={folder}"),
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def runs(results):
    """By method the folder of its run."""
    records = [(p, json.loads(p.read_text())) for p in (results / "runs").glob("*/record.json")]
    return {record["method"]: path.parent for path, record in records}


@pytest.fixture
def store(results):
    return Store(results, None, "hyplora-bench")


@pytest.fixture
def exported(results, runs, store, tmp_path):
    """Export a method's run by its id, and return the folder."""

    def write(method="hyplora", name="out"):
        return export(runs[method].name, results, store, tmp_path / name)

    return write


def test_others_load_it_by_the_cards_own_lines_and_get_the_same_bits(exported, runs, fresh_tiny):
    base, tokenizer = fresh_tiny
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    script, expected = ["import hashlib", "import torch"], []
    for method in METHODS:
        folder = exported(method, method)
        block = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
        assert ("import bench.methods" in block) == (method == "hyplora")
        script += [
            block.replace("PATH/OF/THIS/FOLDER", str(folder)),
            f"logits = model(torch.tensor({ids.tolist()})).logits.detach()",
            "print(hashlib.sha256(logits.numpy().tobytes()).hexdigest())",
        ]
        model = load_adapter(base, runs[method] / "adapter")
        with torch.no_grad():
            logits = model(ids).logits
        expected.append(hashlib.sha256(logits.numpy().tobytes()).hexdigest())
        base = model.unload() if method != "prefix" else model.get_base_model()
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(script)],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.split() == expected, done.stderr
    assert len(set(expected)) == len(METHODS)


def test_lora_needs_plain_peft_alone(exported, tmp_path):
    tiny = str(PROJECT / "bench/models/tiny")
    script = (
        "import peft, sys, transformers\n"
        f"base = transformers.AutoModelForCausalLM.from_pretrained({tiny!r})\n"
        f"peft.PeftModel.from_pretrained(base, {str(exported('lora'))!r})\n"
        "print([name for name in sys.modules if name.startswith('bench')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_it_holds_weights_as_safetensors_and_text_and_nothing_of_this_machine(exported, results):
    folder = exported()
    assert {path.name for path in folder.iterdir()} == FILES
    texts = [path.read_text() for path in folder.iterdir() if path.suffix != ".safetensors"]
    for text in texts:
        assert (
            str(results) not in text and str(PROJECT) not in text and str(Path.home()) not in text
        )


def test_the_manifest_has_the_hash_of_each_file(exported):
    folder = exported()
    files = json.loads((folder / "export.json").read_text())["files"]
    assert set(files) == FILES - {"export.json"}
    for name, digest in files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_card_has_the_hubs_front_matter(exported):
    data = ModelCard((exported() / "README.md").read_text()).data
    assert data.base_model == "bench/models/tiny" and data.library_name == "peft"
    assert data.license == "unknown" and {"hyplora", "peft"} <= set(data.tags)
    assert [r.metric_type for r in data.eval_results] == ["accuracy", "accuracy"]
    assert data.eval_results[0].dataset_type == "synthetic-mawps"


def test_the_card_says_what_was_measured_on_what_and_what_is_not_known(exported, runs):
    text = (exported() / "README.md").read_text()
    record = json.loads((runs["hyplora"] / "record.json").read_text())
    score = record["scores"]["mawps"]
    assert re.search(rf"\| MAWPS \| {score['accuracy']:.1f} \| \d+\.\d to \d+\.\d \| 3 \|", text)
    for part in (
        record["hashes"]["base"],
        record["hashes"]["train"],
        "Question: {instruction}\nAnswer:",
        "one run, of seed 0",
        "another seed's figure may lie outside",
        "Base: part of hyplora-bench, Apache-2.0",
        "This adapter: none is stated",
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


def test_a_base_of_the_hub_is_named_by_its_commit_and_its_licence_is_left_open(runs):
    record = on_hub(json.loads((runs["lora"] / "record.json").read_text()))
    text = model_card(record, ours=False, created_at=None)
    assert 'from_pretrained("some/base", revision="c0ffee", dtype="float32")' in text
    assert "Base: its licence is not known" in text and "Data: the licences" in text
    assert ModelCard(text).data.base_model == "some/base"


def test_names_in_a_card_are_text(runs):
    record = on_hub(json.loads((runs["lora"] / "record.json").read_text()))
    record |= {"method": HOSTILE, "model": HOSTILE, "protocol": HOSTILE, "device": HOSTILE}
    record["scores"]["mawps"]["label"] = HOSTILE
    record["config"]["data"]["train"] = [HOSTILE]
    record["config"]["protocol"]["evaluation_prompt"] = HOSTILE
    text = model_card(record, ours=False, created_at=None)
    assert "\x1b" not in text
    card = ModelCard(text)
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(card.text)
    kinds = {t.type for t in tokens} | {c.type for t in tokens for c in t.children or ()}
    assert not kinds & {"html_block", "html_inline", "link_open"}
    assert len([t for t in tokens if t.type == "fence"]) == 2
    assert [t.tag for t in tokens if t.type == "heading_open"].count("h1") == 1


def test_the_record_in_pefts_form_has_its_fields_and_our_figures(exported, runs):
    found = json.loads((exported() / "method_comparison.json").read_text())
    record = json.loads((runs["hyplora"] / "record.json").read_text())
    assert list(found) == ["run_info", "train_info", "meta_info"]
    run, train, meta = found.values()
    assert run["experiment_name"] == "hyplora/tiny-K1-seed0" and run["error_msg"] == ""
    assert run["train_config"]["query_template"] == "Question: {query}\nAnswer:"
    assert run["peft_config"]["peft_type"] == "HYPLORA"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", run["created_at"])
    assert train["status"] == "success" and train["accelerator_memory_max"] is None
    assert train["train_time"] == record["seconds"]["finetune"]
    assert train["num_trainable_params"] == record["parameters"]["trainable"]
    last = train["metrics"][-1]
    assert last["test accuracy"] == pytest.approx(record["averages"]["micro"] / 100)
    assert last["step"] == record["training"]["steps"]
    assert meta["package_info"]["peft-version"] == record["versions"]["peft"]
    assert set(meta) == {
        "model_info", "dataset_info", "package_info", "system_info", "pytorch_info"
    }  # fmt: skip


def test_what_an_export_wrote_is_written_anew(exported, tmp_path):
    first = (exported() / "README.md").read_bytes()
    exported("lora")
    assert (exported() / "README.md").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_anything_else_is_left_alone(exported, tmp_path):
    (tmp_path / "mine").mkdir()
    check_target(tmp_path / "mine")
    (tmp_path / "mine" / "thesis.tex").write_text("work")
    with pytest.raises(InputError, match="is not empty, and no export wrote it"):
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


def test_a_run_is_found_by_folder_adapter_beginning_or_the_stores_own_id(
    results, runs, store, tmp_path
):
    run = runs["lora"]
    run_id = json.loads((run / "record.json").read_text())["run_id"]
    identities = set()
    for number, given in enumerate((run, run / "adapter", run.name[:6], run_id)):
        folder = export(str(given), results, store, tmp_path / str(number))
        identities.add(json.loads((folder / "export.json").read_text())["identity"])
    assert len(identities) == 1
    folder = export(str(run), results, None, tmp_path / "without a store")
    assert (
        json.loads((folder / "method_comparison.json").read_text())["run_info"]["created_at"]
        is None
    )


def test_a_run_whose_folder_is_gone_comes_from_the_store(exported, runs, tmp_path):
    there = exported("lora", "there")
    moved = shutil.move(runs["lora"], tmp_path / "moved")
    try:
        gone = exported("lora", "gone")
    finally:
        shutil.move(moved, runs["lora"])
    assert {p.name: p.read_bytes() for p in gone.iterdir()} == {
        p.name: p.read_bytes() for p in there.iterdir()
    }


def test_a_run_that_is_not_there_is_told_with_the_nearest(inline, results, runs):
    near = runs["lora"].name
    wrong = near[:-1] + ("0" if near[-1] != "0" else "1")
    told = inline("action=export", f"action.run={wrong}", results=results)
    assert told.code == 2 and f"Did you mean {near}" in told.stderr
    for given, message in (
        ("action.run=ab", "too short"),
        ("action.run=", "action.run is missing"),
        (f"action.run={results}", "no record.json there"),
    ):
        told = inline("action=export", given, results=results)
        assert (told.code, message in told.stderr) == (2, True), told


def test_a_run_that_trained_nothing_has_nothing_to_share(runs, results, tmp_path):
    run = shutil.copytree(runs["lora"], tmp_path / "run")
    record = json.loads((run / "record.json").read_text())
    record["rows"]["train"] = 0
    (run / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="trained nothing, so it has no adapter"):
        export(str(run), results, None, tmp_path / "out")


def test_without_any_run_it_says_what_to_run_first(inline, tmp_path):
    told = inline("action=export", "action.run=abcdef", results=tmp_path / "none")
    assert told.code == 2 and "run something first" in told.stderr
    assert not (tmp_path / "none").exists()


def test_an_adapter_that_is_damaged_or_gone_is_told(runs, tmp_path, results):
    run = shutil.copytree(runs["lora"], tmp_path / "run")
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(RuntimeError, match="is damaged"):
        export(str(run), results, None, tmp_path / "out")
    shutil.rmtree(run / "adapter")
    with pytest.raises(RuntimeError, match="is gone"):
        export(str(run), results, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
