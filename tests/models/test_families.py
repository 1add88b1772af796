"""Architectures of base models: loaded, adapted by every method, and run from end to end."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from bench.config import PROJECT
from bench.errors import InputError
from bench.experiment import run
from bench.methods import attach
from bench.methods.layers import in_names_of
from bench.models.loading import context_length, load_base
from bench.training.adapters import load_adapter, save_adapter
from tests.helpers import model_at

METHODS = sorted(path.stem for path in PROJECT.glob("conf/method/*.yaml"))
CLASSES = {
    "llama": "LlamaForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM",
    "helm_d": "HelmForCausalLM",
    "helm_mice": "HelmForCausalLM",
}
TEXTS = ["Mary has 3 books.", "Tom has 4 more apples than Mary has."]


def loaded(path, **options):
    return load_base(model_at(path, **options), torch.device("cpu"))


@pytest.mark.parametrize("name", CLASSES)
def test_each_architecture_is_loaded_as_a_language_model(family, name):
    model, tokenizer = family(name)
    assert type(model).__name__ == CLASSES[name] and context_length(model) == 256
    assert tokenizer.padding_side == "left" and not model.training


def test_the_language_model_of_a_multimodal_checkpoint_is_unchanged(family, family_base):
    model, tokenizer = family("gemma3")
    whole = transformers.AutoModelForCausalLM.from_pretrained(family_base("gemma3")).eval()
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    assert torch.equal(model(input_ids=ids).logits, whole(input_ids=ids).logits)
    assert not [name for name, _ in model.named_modules() if "vision" in name]


def test_a_context_can_be_lowered(family_base):
    for context, expected in ((100, 100), (9999, 256), (None, 256)):
        assert context_length(loaded(family_base("llama"), context=context)[0]) == expected


def test_a_checkpoint_that_lacks_weights_is_refused(family_base, tmp_path):
    copy = shutil.copytree(family_base("llama"), tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 weights.*layers\.1\.mlp\.up_proj"):
        loaded(copy)


@pytest.fixture(scope="module")
def composed():
    return {}


@pytest.fixture
def attached(compose, composed, family):
    """A function that puts a method of conf/method on a family's base."""

    def make(name, method):
        if method not in composed:
            small = ("train.adapter.r=4", "train.adapter.bottleneck_size=4")
            composed[method] = compose(f"method={method}", *small).method
        settings = composed[method]
        base, tokenizer = family(name)
        torch.manual_seed(0)
        prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
        return attach(base, settings.module, settings.options, prompts), tokenizer

    return make


# All methods on one family, and one of each kind of layer on the others. Prefix tuning of helm_mice
# is refused, as the next test shows.
KINDS = ("none", "lora", "hyplora", "series", "prefix")
PAIRS = [(name, method) for name in CLASSES for method in (METHODS if name == "llama" else KINDS)]


@pytest.mark.parametrize(("name", "method"), [p for p in PAIRS if p != ("helm_mice", "prefix")])
def test_each_method_trains_saves_and_generates_on_each_family(
    attached, family, tmp_path, name, method
):
    model, tokenizer = attached(name, method)
    batch = dict(tokenizer(TEXTS, return_tensors="pt", padding=True))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert (not trained) == (method == "none")
    if trained:
        optimizer = torch.optim.Adam(trained.values(), lr=1e-2)
        before = {n: p.detach().clone() for n, p in trained.items()}
        for _ in range(2):  # after the first step, all parameters have gradients
            optimizer.zero_grad()
            loss = model.train()(**batch, labels=batch["input_ids"]).loss
            loss.backward()
            optimizer.step()
        unchanged = [
            n
            for n, p in trained.items()
            if torch.equal(p, before[n]) and "hyplora_s" not in n  # which the authors clamp
        ]
        assert loss > 0 and unchanged == []
        save_adapter(model.eval(), tmp_path / "adapter")
        with torch.no_grad():
            expected = model(**batch).logits
            again = load_adapter(family(name)[0], tmp_path / "adapter")(**batch).logits
        torch.testing.assert_close(again, expected)
    with torch.no_grad():
        ids = model.generate(**batch, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert ids.shape == (2, batch["input_ids"].shape[1] + 3)


@pytest.mark.parametrize("name", ["helm_mice", "deepseek_v3"])
def test_prefix_tuning_of_a_base_that_caches_latents_is_refused(attached, name):
    with pytest.raises(ValueError, match=r"latent.*method=lora"):
        attached(name, "prefix")


ATTENTION = ["q_proj", "k_proj", "v_proj"]


@pytest.mark.parametrize(
    ("name", "modules", "expected"),
    [
        ("helm_d", [*ATTENTION, "down_proj"], [*ATTENTION, "down_proj"]),
        (  # the layers that make keys and values of a latent
            "helm_mice",
            [*ATTENTION, "down_proj"],
            ["q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "down_proj"],
        ),
        (  # its fused layer only once
            "gpt_neox",
            [*ATTENTION, "up_proj", "down_proj"],
            ["query_key_value", "dense_h_to_4h", "dense_4h_to_h"],
        ),
    ],
)
def test_target_modules_are_translated_to_the_names_of_a_family(family, name, modules, expected):
    patterns = {"alpha_pattern": dict.fromkeys(modules, 8), "exclude_modules": modules}
    found = in_names_of(family(name)[0], {"target_modules": modules, "r": 4} | patterns)
    assert list(found.pop("alpha_pattern")) == found["target_modules"]
    assert found.pop("exclude_modules") == found["target_modules"]
    assert found == {"target_modules": expected, "r": 4}


def test_values_for_parts_of_a_fused_layer_must_agree(family):
    for other in ("v_proj", "query_key_value"):
        with pytest.raises(ValueError, match="several values for query_key_value"):
            in_names_of(family("gpt_neox")[0], {"rank_pattern": {"q_proj": 2, other: 8}})


def test_an_unknown_target_module_is_refused_with_the_known_ones(family):
    """peft would adapt the others and say nothing."""
    with pytest.raises(ValueError, match=r"wi\b.*dense_h_to_4h"):
        attach(family("gpt_neox")[0], "lora", {"r": 4, "target_modules": ["q_proj", "wi"]})


@pytest.mark.parametrize("name", ["gemma3", "helm_mice"])
def test_an_architecture_runs_from_end_to_end(compose, small, family_base, name):
    experiment = compose(
        *small,
        "model=local",
        f"model.path={family_base(name)}",
        "method=hyplora",
        "method.r=4",
        "train.gradient_checkpointing=true",
        "data.train=[mawps]",
        "data.tests=[mawps]",
        "data.train_size=8",
        "data.test_size=2",
        "protocol.max_new_tokens=4",
    )
    outcome = run(experiment)
    record = outcome.record
    assert record["parameters"]["trainable"] > 0
    assert all(loss > 0 for _, loss in record["training"]["losses"])
    lines = (outcome.folder / "predictions.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 2
