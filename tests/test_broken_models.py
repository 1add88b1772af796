"""Broken bases and adapters: one message, code 2, nothing run that comes with them."""

import json
import os
import pickle
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers import refused

BASE, ADAPTER = "model.safetensors", "adapter_model.safetensors"
ONE_ROW = ("data.tests=[mawps]", "data.test_size=1", "protocol.max_new_tokens=2")


class Evil:
    """What a pickle runs when it is loaded: it makes a folder."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One folder for all refusals: creating a tracking store takes longer than one."""
    return tmp_path_factory.mktemp("refused") / "results"


@pytest.fixture
def base(local_base, tmp_path):
    return shutil.copytree(local_base, tmp_path / "base")


def edit(path, **values):
    """Change keys of a JSON file; None takes one out."""
    changed = {k: v for k, v in (json.loads(path.read_text()) | values).items() if v is not None}
    path.write_text(json.dumps(changed))


def rewrite(change, name=BASE):
    """What changes each tensor of a file of weights by a function."""

    def breaking(folder):
        weights = {key: change(weight) for key, weight in load_file(folder / name).items()}
        save_file(weights, folder / name, {"format": "pt"})

    return breaking


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def config(name="config.json", **values):
    return lambda folder: edit(folder / name, **values)


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def pickled(weights, name):
    """What replaces weights by a pickle that runs code."""

    def breaking(folder):
        (folder / weights).unlink()
        (folder / name).write_bytes(pickle.dumps(Evil(folder.parent / "ran")))

    return breaking


def index(weight_map, broken=None):
    """What names the weights' file by an index."""

    def breaking(folder):
        shutil.move(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")
        names = load_file(folder / "model-00001-of-00002.safetensors")
        content = {"metadata": {}, "weight_map": {name: weight_map(name) for name in names}}
        (folder / "model.safetensors.index.json").write_text(broken or json.dumps(content))

    return breaking


def outside(folder):
    """An index that names a file outside of the folder, which exists and is whole."""
    index(lambda name: "../model-00001-of-00002.safetensors")(folder)
    shutil.copy(folder / "model-00001-of-00002.safetensors", folder.parent)


def no_tokenizer(folder):
    for path in folder.glob("*token*"):
        path.unlink()


def with_code(name, **auto_map):
    """What makes a file of a base ask for code that comes with it."""

    def breaking(folder):
        (folder / "evil.py").write_text(f"import os\nos.mkdir({str(folder.parent / 'ran')!r})\n")
        edit(folder / name, auto_map=auto_map, model_type="evil", tokenizer_class="Evil")
        edit(folder / "config.json", model_type="evil")

    return breaking


MODEL_CODE = with_code("config.json", AutoConfig="evil.X", AutoModelForCausalLM="evil.Y")
TOKENIZER_CODE = with_code("tokenizer_config.json", AutoTokenizer=["evil.X", None])

BASES = {
    "weights cut short": (cut(BASE), "can't be loaded"),
    "weights with a header longer than the file": (
        lambda folder: (folder / BASE).write_bytes(struct.pack("<Q", 1 << 40) + b"{}"),
        "can't be loaded",
    ),
    "weights of whole numbers": (rewrite(torch.Tensor.int), "integer weights"),
    "weights with NaN": (rewrite(torch.Tensor.log), "NaN or infinite, such as"),
    "an index whose shard is missing": (index(lambda name: "gone.safetensors"), "gone.safetensors"),
    "an index that names a file outside": (outside, "outside"),
    "an index that is no JSON": (index(str, "nonsense"), "index.json"),
    "a vocabulary larger than the weights": (config(vocab_size=9999), "can't be loaded"),
    "no tokenizer": (no_tokenizer, "tokenizer"),
    "a tokenizer without an end": (config("tokenizer_config.json", eos_token=None), "no end-of-"),
    "a tokenizer that is no JSON": (text("tokenizer.json", "nonsense"), "can't be loaded"),
    "a tokenizer's settings that are a list": (text("tokenizer_config.json", "[]"), "can't be"),
    "a config that is no JSON": (text("config.json", "{"), "config.json"),
    "a config that is a list": (text("config.json", "[]"), "can't be loaded"),
    "a config of another encoding": (
        lambda folder: (folder / "config.json").write_bytes(b'{"model_type": "\xe9"}'),
        "config.json",
    ),
    "an unknown architecture": (config(model_type="nowhere"), "nowhere"),
    "an encoder": (config(model_type="bert", architectures=["BertModel"]), "not a causal language"),
    "a width that is text": (config(hidden_size="wide"), "can't be loaded"),
    "a context of less than nothing": (config(max_position_embeddings=-5), "embeddings=-5"),
    "pickled weights": (pickled(BASE, "pytorch_model.bin"), "pickled weights are not loaded"),
    "a pickle by the name of weights": (pickled(BASE, BASE), "can't be loaded"),
    "a model's own code": (MODEL_CODE, "trust_remote_code"),
    "a tokenizer's own code": (TOKENIZER_CODE, "evil"),
}


@pytest.mark.parametrize("kind", BASES)
def test_a_broken_base_is_refused_in_one_message(inline, base, results, kind):
    breaking, message = BASES[kind]
    breaking(base)
    done = inline("model=local", f"model.path={base}", "method=none", *ONE_ROW, results=results)
    refused(done, message, results=results)
    assert not (base.parent / "ran").exists()


def test_a_link_to_itself_and_a_file_are_no_base(inline, tmp_path, results):
    (tmp_path / "link").symlink_to(tmp_path / "link")
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "link", tmp_path / "file"):
        done = inline("model=local", f"model.path={path}", "method=none", *ONE_ROW, results=results)
        refused(done, "no such folder", results=results)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_weights_that_may_not_be_read_are_refused(inline, base, results):
    (base / "model.safetensors").chmod(0)
    done = inline("model=local", f"model.path={base}", "method=none", *ONE_ROW, results=results)
    refused(done, "model.safetensors", results=results)


def test_a_tokenizer_without_padding_is_enough(inline, base):
    edit(base / "tokenizer_config.json", pad_token=None)
    done = inline("model=local", f"model.path={base}", "method=none", *ONE_ROW)
    assert done.code == 0, done.stderr


@pytest.fixture
def adapter(local_base, tmp_path):
    """A saved LoRA adapter of `local_base`."""
    from transformers import AutoModelForCausalLM

    from bench.methods import attach
    from bench.training.adapters import save_adapter

    options = {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj"]}
    model = attach(AutoModelForCausalLM.from_pretrained(local_base), "lora", options)
    save_adapter(model, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def evaluated(inline, local_base, results):
    """A function that evaluates an adapter."""

    def run(adapter, results=results):
        base = ("model=local", f"model.path={local_base}", "method=lora", f"adapter={adapter}")
        return inline(*base, *ONE_ROW, results=results)

    return run


def adapter_config(**values):
    return config("adapter_config.json", **values)


ENDLESS = "(([a-z_.0-9])+)+!"
ADAPTERS = {
    "a config that is no JSON": (text("adapter_config.json", "nonsense"), "adapter_config.json"),
    "a config that is a list": (text("adapter_config.json", "[]"), "adapter_config.json"),
    "another method": (adapter_config(peft_type="PREFIX_TUNING"), "PREFIX_TUNING"),
    "an unknown method": (adapter_config(peft_type="nowhere"), "nowhere"),
    "another rank than its weights": (adapter_config(r=8), "can't be loaded onto this base"),
    "a rank that is text": (adapter_config(r="many"), "method.r must be a whole number"),
    "layers that are not there": (
        adapter_config(target_modules=["nowhere"]),
        "can't be loaded onto",
    ),
    "layers by a broken expression": (adapter_config(target_modules="("), "can't be loaded onto"),
    "layers by an endless expression": (adapter_config(target_modules=ENDLESS), "s to match"),
    "ranks by an endless expression": (adapter_config(rank_pattern={ENDLESS: 4}), "s to match"),
    "a huge rank": (adapter_config(r=10**9), "at most 8192 is allowed"),
    "a huge rank of a layer": (adapter_config(rank_pattern={"q_proj": 10**9}), "at most 8192"),
    "endless iterations": (adapter_config(init_lora_weights="pissa_niter_999999"), "at most 100"),
    "copies of blocks": (adapter_config(layer_replication=[[0, 10**9]]), "at most four times"),
    "a pipe": (lambda folder: os.mkfifo(folder / "pipe.json"), "not a regular file"),
    "weights of another base": (rewrite(lambda w: w.repeat(2, 1), ADAPTER), "can't be loaded onto"),
    "pickled weights": (pickled(ADAPTER, "adapter_model.bin"), "more than weights"),
    "weights cut short": (cut(ADAPTER), "can't be loaded onto this base"),
    "weights with NaN": (rewrite(lambda weight: weight * float("nan"), ADAPTER), "NaN or infinite"),
}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_broken_adapter_is_refused_in_one_message(evaluated, adapter, results, kind, monkeypatch):
    monkeypatch.setattr("bench.training.adapter_checks.SECONDS", 0.5)
    breaking, message = ADAPTERS[kind]
    breaking(adapter)
    refused(evaluated(adapter), message, results=results)
    assert not (adapter.parent / "ran").exists()


def old_config(folder):
    """The configuration that a fork of the first peft wrote."""
    lora = {"r": 4, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj"]}
    kind = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "enable_lora": None}
    (folder / "adapter_config.json").write_text(json.dumps({**lora, **kind}))


def old_weights(folder):
    torch.save(load_file(folder / ADAPTER), folder / "adapter_model.bin")
    (folder / ADAPTER).unlink()


@pytest.mark.parametrize("change", [lambda folder: None, old_config, old_weights])
def test_adapters_of_this_and_of_older_versions_of_peft_are_evaluated(evaluated, adapter, change):
    change(adapter)
    done = evaluated(adapter, adapter.parent / "results")
    assert done.code == 0, done.stderr


def test_an_empty_name_of_an_adapter_is_refused(evaluated, results):
    refused(evaluated(""), "adapter= is empty", results=results)


def test_an_adapter_of_another_base_is_evaluated_with_a_warning(evaluated, adapter, caplog):
    record = adapter.parent / "record.json"
    record.write_text(json.dumps({"hashes": {"base": "0123456789ab"}}))
    done = evaluated(adapter, adapter.parent / "results")
    assert done.code == 0 and "trained on a different base than model.path" in caplog.text
