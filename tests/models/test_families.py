import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from bench.errors import InputError
from bench.experiment import run
from bench.models.loading import context_length, load_base
from bench.models.settings import ModelSettings

CPU = torch.device("cpu")
CLASSES = {
    "llama": "LlamaForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "helm_d": "HelmForCausalLM",
    "helm_mice": "HelmForCausalLM",
}


def settings(path, **options):
    return ModelSettings("local", str(path), None, "float32", None, False, **options)


@pytest.mark.parametrize("family", CLASSES)
def test_each_architecture_is_loaded_as_a_language_model(family_base, family):
    model, _ = load_base(settings(family_base(family)), CPU)
    assert type(model).__name__ == CLASSES[family] and context_length(model) == 256


def test_of_a_checkpoint_with_pictures_the_text_part_is_loaded_unchanged(family_base):
    folder = family_base("gemma3")
    model, tokenizer = load_base(settings(folder), CPU)
    whole = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer("Mary has 3 books.", return_tensors="pt")["input_ids"]
    assert torch.equal(model(input_ids=ids).logits, whole(input_ids=ids).logits)
    assert not [name for name, _ in model.named_modules() if "vision" in name]


@pytest.mark.parametrize(("asked", "given"), [(100, 100), (9999, 256), (None, 256)])
def test_a_context_can_be_lowered(family_base, asked, given):
    model, _ = load_base(settings(family_base("llama"), context=asked), CPU)
    assert context_length(model) == given


def test_a_checkpoint_that_lacks_weights_is_refused(family_base, tmp_path):
    copy = shutil.copytree(family_base("llama"), tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 weights.*layers\.1\.mlp\.up_proj"):
        load_base(settings(copy), CPU)


@pytest.mark.parametrize(("method", "twice"), [("hyplora", "true"), ("lora", "false")])
@pytest.mark.parametrize("family", ["llama", "gemma", "gemma3", "qwen2", "helm_d", "helm_mice"])
def test_each_architecture_runs_from_end_to_end(compose, small, family_base, family, method, twice):
    outcome = run(
        compose(
            *small,
            "model=local",
            f"model.path={family_base(family)}",
            f"method={method}",
            "method.r=4",
            f"train.gradient_checkpointing={twice}",
            "data.train_size=8",
            "data.test_size=2",
            "protocol.max_new_tokens=8",
        )
    )
    record = outcome.record
    assert record["parameters"]["trainable"] > 0
    assert all(loss > 0 for _, loss in record["training"]["losses"])
    lines = (outcome.folder / "predictions.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 4
