"""HELM models on disk, their initialization, and weights of the public code."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from bench.errors import InputError
from bench.models.helm import HelmConfig, HelmForCausalLM
from bench.models.helm.layers import LorentzEmbedding
from bench.models.helm.router import Router
from bench.models.helm.sizes import model_config

KINDS = ("helm_d", "helm_mice")
IDS = torch.arange(24).view(2, 12) % 31


def random_model(kind, entries=31, **choices):
    torch.manual_seed(0)
    config = model_config(kind, "tiny", entries, **{"num_hidden_layers": 2, **choices})
    return HelmForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("helm_d", {}),
        ("helm_d", {"tie_word_embeddings": True}),
        ("helm_mice", {"embedding": "lorentz", "merge": "centroid"}),
        ("helm_mice", {"tie_word_embeddings": True, "initialization": "public"}),
    ],
)
def test_what_is_saved_is_loaded(tmp_path, kind, choices):
    model = random_model(kind, **choices)
    tied = choices.get("tie_word_embeddings", False)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    for module in model.modules():
        if isinstance(module, Router):
            module.e_score_correction_bias.uniform_(-0.1, 0.1)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert ("lm_head.weight" in weights) != tied
    found, loading = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(found) is HelmForCausalLM and not any(loading.values())
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    assert torch.equal(found.eval()(input_ids=IDS).logits, model(input_ids=IDS).logits)
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == found.config.to_dict()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_starts_near_the_loss_of_guessing(kind, tied):
    model = random_model(kind, 500, tie_word_embeddings=tied)
    ids = torch.randint(0, 500, (2, 100))
    assert model(input_ids=ids, labels=ids).loss.item() == pytest.approx(math.log(500), abs=0.8)


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_can_be_resized(kind):
    model = random_model(kind, initialization="public")
    before = model(input_ids=IDS).logits
    for size in (40, 31):
        model.resize_token_embeddings(size)
        after = model(input_ids=IDS).logits
        assert after.shape[-1] == size == model.config.vocab_size
        torch.testing.assert_close(after[..., :31], before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", ["balanced", "public"])
def test_time_columns_of_a_balanced_start_are_zero(start, kind):
    model = random_model(kind, initialization=start)
    columns = {n: p for n, p in model.named_parameters() if n.endswith("_time")}
    heads = model.model.layers[0].self_attn.o_proj.weight.unflatten(1, (4, -1))
    assert len(columns) > 10 and heads[..., 1:].all()
    for name, column in (columns | {"heads": heads[..., 0]}).items():
        assert column.any() == (start == "public"), name


def test_curvatures_are_evenly_spaced_and_can_be_fixed():
    model = random_model("helm_mice", expert_curvatures=[0.1, 2.0])
    K = [v for name, v in model.curvatures().items() if "layers.1" in name]
    assert pytest.approx(torch.linspace(0.1, 2.0, 4).tolist()) == K
    assert random_model("helm_d").curvatures() == {"stream": 1.0}
    fixed = random_model("helm_mice", train_expert_curvatures=False)
    frozen = [n for n, p in fixed.named_parameters() if not p.requires_grad]
    assert frozen == ["model.layers.1.mlp.experts.log_curvature"]


def test_a_table_of_points_starts_on_the_hyperboloid():
    table = LorentzEmbedding(50, 16, 2.0)
    table.initialize()
    squared = -table.weight[:, 0].square() + table.weight[:, 1:].square().sum(-1)
    torch.testing.assert_close(squared, torch.full((50,), -2.0), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "helm"}, r"expected one of \('helm_d', 'helm_mice'\), got helm"),
        ({"merge": "sum"}, "'merge' expected one of"),
        ({"expert_curvatures": [0, 1]}, "must be positive"),
        ({"embedding": "lorentz", "tie_word_embeddings": True}, "set embedding='lifted'"),
        ({"kind": "helm_mice", "qk_rope_head_dim": 7}, "must be even"),
        ({"kind": "helm_mice", "num_experts_per_tok": 9}, "in 1 to n_routed_experts=4"),
        ({"kind": "helm_mice", "n_shared_experts": 0}, "must be 1 or more"),
        ({"kind": "helm_mice", "n_group": 3}, "must divide"),
        ({"kind": "helm_mice", "n_group": 4, "topk_group": 1}, "have fewer than num_experts_per_"),
        ({"hidden_act": "gelu"}, "leave num_key_value_heads and hidden_act out"),
        ({"num_key_value_heads": 2}, "leave num_key_value_heads and hidden_act out"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "rope_type must be default or yarn"),
    ],
)
def test_an_invalid_configuration_is_refused(options, message):
    with pytest.raises(Exception, match=message):
        HelmConfig(**options)


@pytest.mark.parametrize(
    ("kind", "needed"),
    [("helm_d", "resblocks.1.mlp.w3.linear.bias"), ("helm_mice", "head.weight")],
)
def test_public_weights_must_be_complete_known_and_of_the_right_shape(golden, config, kind, needed):
    state = golden(f"{kind}_tiny").below("param/")
    unknown = state | {"layers.9.q": torch.ones(1)}
    lacking = {name: tensor for name, tensor in state.items() if name != needed}
    for given, options, message in (
        (lacking, {}, f"lacks 1 weights, such as {needed}"),
        (unknown, {}, r"has unknown 1 weights, such as layers\.9\.q"),
        (state, {"vocab_size": 54}, "configuration requires"),
        (state, {"embedding": "lifted"}, "lacks 1 weights.* with embedding='lifted'"),
        (state, {"num_hidden_layers": 1}, r"has unknown \d+ weights"),
    ):
        with pytest.raises(InputError, match=message):
            HelmForCausalLM.from_public(given, config(kind, **options))


def test_curvatures_that_layers_store_must_agree(golden, config):
    state = golden("helm_mice_tiny").below("param/")
    aliases = {
        "layers.0.attn.wq.manifold.k": torch.tensor(1.0),
        "layers.0.attn.wq.c": torch.tensor(1.0),
        "layers.1.ffn.experts.3.w1.manifold.k": state["layers.1.ffn.experts.3.expert_manifold.k"],
        "layers.1.ffn.experts.3.manifold.k": torch.tensor(1.0),
    }
    HelmForCausalLM.from_public(state | aliases, config("helm_mice"))
    differ = r"inconsistent curvatures: .* is 1\.25"
    for name, K, message in (
        ("layers.0.attn.wq.c", 1.25, differ),
        ("layers.1.ffn.experts.3.w1.manifold.k", 1.25, differ),
        ("layers.2.ffn.experts.0.expert_manifold.k", -0.5, r"K = -0\.5: it must be positive"),
    ):
        with pytest.raises(InputError, match=message):
            wrong = state | aliases | {name: torch.tensor(K)}
            HelmForCausalLM.from_public(wrong, config("helm_mice"))


def test_a_file_of_public_weights(golden, config, tmp_path):
    state, logits = golden("helm_d_tiny").below("param/"), []
    save_file(state, tmp_path / "public.safetensors")
    torch.save(state, tmp_path / "public.pt")
    for name in ("public.safetensors", "public.pt"):
        model = HelmForCausalLM.from_public(tmp_path / name, config("helm_d"))
        logits.append(model(input_ids=IDS).logits)
    assert torch.equal(*logits)
    torch.save({"state": Path("code")}, tmp_path / "code.pt")  # unpickling it would run code
    with pytest.raises(InputError, match="can't be read with weights_only=True"):
        HelmForCausalLM.from_public(tmp_path / "code.pt", config("helm_d"))
