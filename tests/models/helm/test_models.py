"""Two whole models beside the public code: logits, loss, every gradient."""

import pytest
import torch
import torch.nn.functional as F

from bench.geometry.tangent import time_flipped, to_tangent
from bench.models.helm import HelmForCausalLM
from bench.models.helm.importer import own_weights

KINDS = ("helm_d", "helm_mice")


@pytest.fixture
def imported(golden, config):
    """A function that gives a golden model in a dtype, and its arrays."""

    def load(kind, dtype=torch.float64, **options):
        a = golden(f"{kind}_tiny")
        model = HelmForCausalLM.from_public(a.below("param/", dtype), config(kind, **options))
        return model.train(), a

    return load


def documents(a):
    """Numbers of documents, of the mask that parts them."""
    return (~a["out/docmask"]).int().argmax(-1)


@pytest.mark.parametrize(
    ("dtype", "values", "gradients"), [(torch.float64, 1e-9, 1e-9), (torch.float32, 1e-5, 1e-4)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_logits_loss_and_every_gradient(imported, config, near, kind, dtype, values, gradients):
    model, a = imported(kind, dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    logits = model(input_ids=a["in/tokens"], sequence_ids=documents(a)).logits
    near(logits, a["out/logits"], values)
    loss = F.cross_entropy(logits.flatten(0, 1), a["in/labels"].flatten(), ignore_index=-100)
    near(loss, a["out/loss"], values)
    loss.backward()
    # Gradients have the names and shapes of parameters, so that the importer takes them, too. Of
    # curvatures they are by K there and by log K here. An expert without tokens has none there.
    public = a.below("grad/param/")
    for name, tensor in a.below("param/").items():
        if name not in public and (".experts." in name or name.endswith("gate.bias")):
            public[name] = torch.zeros_like(tensor)
        if name.endswith("expert_manifold.k"):
            public[name] = (public[name] * tensor).exp()
    expected = own_weights(public, config(kind))
    checked = 0
    for name, parameter in model.named_parameters():
        found, wanted = parameter.grad, expected[name]
        if name == "model.embed_tokens.weight":
            # Here the time has no gradient of its own; as vectors tangent to the hyperboloid, which
            # is what its optimiser makes of them, both are the same.
            points = a.below("param/")[
                "embed.embedding" if kind == "helm_mice" else "token_embed.embedding"
            ]
            found, wanted = (
                to_tangent(points, time_flipped(g.double()), 1.0) for g in (found, wanted)
            )
        near(found, wanted, gradients, name, least=1e-2 if dtype == torch.float32 else 1e-3)
        checked += 1
    assert checked == len(list(model.parameters())) > 30


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_shifted_cross_entropy_and_in_training_the_balance(imported, near, kind):
    model, a = imported(kind, balance_loss=0.5)
    ids = a["in/tokens"]
    out = model(input_ids=ids, labels=ids)
    plain = F.cross_entropy(out.logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
    if kind == "helm_d":
        assert out.aux_loss is None
    else:
        assert out.aux_loss > 0.1
        plain = plain + out.aux_loss
    near(out.loss, plain, 1e-6)
    model.eval()
    near(model(input_ids=ids, labels=ids).loss, plain - (out.aux_loss or 0), 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_of_a_packed_row_do_not_see_each_other(imported, near, kind):
    model, a = imported(kind)
    ids = a["in/tokens"][:1]
    apart = torch.cat([model(input_ids=ids[:, :9]).logits, model(input_ids=ids[:, 9:]).logits], 1)
    row = (torch.arange(16) >= 9).long().unsqueeze(0)
    near(model(input_ids=ids, sequence_ids=row).logits, apart, 1e-9)
    anew = torch.cat([torch.arange(9), torch.arange(7)]).unsqueeze(0)
    near(model(input_ids=ids, position_ids=anew, use_cache=False).logits, apart, 1e-9)
    mask = (row.unsqueeze(1) == row.unsqueeze(2)) & torch.ones(16, 16, dtype=torch.bool).tril()
    near(model(input_ids=ids, attention_mask=mask.unsqueeze(1)).logits, apart, 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_for_rows_that_are_given_whole(imported, kind):
    model, a = imported(kind)
    ids, row = a["in/tokens"][:1], torch.zeros(1, 16, dtype=torch.long)
    with pytest.raises(ValueError, match=r"must be \(batch, tokens\) = \(1, 16\), not \(1, 15\)"):
        model(input_ids=ids, sequence_ids=row[:, 1:])
    with pytest.raises(ValueError, match="give one of them"):
        model(input_ids=ids, sequence_ids=row, attention_mask=torch.ones(1, 1, 16, 16).bool())
    cache = model(input_ids=ids, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="rows that are given whole"):
        model(input_ids=ids[:, :1], sequence_ids=row[:, :1], past_key_values=cache)
    # padding beside documents
    mask = torch.ones(1, 16, dtype=torch.long)
    mask[0, :4] = 0
    found = model(input_ids=ids, sequence_ids=row, attention_mask=mask).logits[:, 4:]
    assert torch.allclose(found, model(input_ids=ids[:, 4:]).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_the_left_has_finite_gradients_and_changes_nothing(imported, near, kind):
    model, a = imported(kind, torch.float32)
    ids, mask = a["in/tokens"], torch.ones(2, 16, dtype=torch.long)
    mask[0, :6] = 0
    logits = model(input_ids=ids, attention_mask=mask).logits
    near(logits[:1, 6:], model(input_ids=ids[:1, 6:]).logits, 1e-5)
    (logits * mask.unsqueeze(-1)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_an_attention_backend_changes_nothing(imported, near, kind):
    model, a = imported(kind)
    mask = torch.ones(2, 16, dtype=torch.long)
    mask[0, :5] = 0
    expected = model(input_ids=a["in/tokens"], attention_mask=mask).logits
    model.set_attn_implementation("eager")
    found = model(input_ids=a["in/tokens"], attention_mask=mask).logits
    near(found[1], expected[1], 1e-9)
    near(found[0, 5:], expected[0, 5:], 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_last_logits(imported, near, kind):
    model, a = imported(kind)
    ids = a["in/tokens"]
    whole = model(input_ids=ids).logits
    near(model(input_ids=ids, logits_to_keep=3).logits, whole[:, -3:], 1e-9)
    found = model(input_ids=ids, output_hidden_states=True).hidden_states
    assert len(found) == model.config.num_hidden_layers + 1
    near(found[0], model.get_input_embeddings()(ids), 1e-9)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_changes_no_gradient(imported, near, kind, reentrant):
    model, a = imported(kind, balance_loss=0.5, embedding="lorentz")
    ids = a["in/tokens"]
    model(input_ids=ids, labels=ids).loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model(input_ids=ids, labels=ids).loss.backward()
    for name, parameter in model.named_parameters():
        near(parameter.grad, expected[name], 1e-9, name)


def test_in_half_precision_the_logits_stay_near(imported):
    """bfloat16 keeps 8 bits: logits of 2.4 at most are off by some hundredths."""
    for kind in KINDS:
        model, a = imported(kind)
        expected = model(input_ids=a["in/tokens"]).logits
        for precise in (False, True):
            low, _ = imported(kind, float32_attention=precise)
            found = low.to(torch.bfloat16)(input_ids=a["in/tokens"]).logits
            assert found.dtype == torch.bfloat16
            assert (found - expected).abs().mean() < 0.03
        mixed, ids = imported(kind, torch.float32)[0], a["in/tokens"]
        with torch.autocast("cpu", torch.bfloat16):
            out = mixed(input_ids=ids, labels=ids)
        out.loss.backward()
        assert (out.logits - expected).abs().mean() < 0.03
        assert all(p.grad.isfinite().all() for p in mixed.parameters())


def test_routing_and_curvatures_are_told(imported):
    model, a = imported("helm_mice")
    model(input_ids=a["in/tokens"])
    routing = model.routing()
    assert list(routing) == ["model.layers.1.mlp", "model.layers.2.mlp"]
    for i, found in enumerate(routing.values()):
        assert found.probabilities.sum().item() == pytest.approx(1)
        if torch.equal(documents(a), torch.zeros_like(documents(a))):
            assert torch.equal(found.counts.long(), a[f"out/moe{i}_counts"])
    K = model.curvatures()
    assert K["stream"] == 1.0 and K["model.layers.2.mlp.experts.3"] == pytest.approx(2.0)
    dense, a = imported("helm_d")
    assert dense.routing() == {} and list(dense.curvatures()) == ["stream"]
    assert dense.update_balance() is None


def test_routing_before_a_forward_pass_is_an_error(imported):
    with pytest.raises(RuntimeError, match="no forward pass has been made"):
        imported("helm_mice")[0].routing()
