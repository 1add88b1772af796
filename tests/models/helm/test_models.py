"""Whole models against golden arrays of the public code, literal forms, and themselves."""

import pytest
import torch
import torch.nn.functional as F

from bench.geometry.tangent import time_flipped, to_tangent
from bench.models.helm import HelmForCausalLM
from bench.models.helm.importer import own_weights, public_names, time_column

KINDS = ("helm_d", "helm_mice")
both = pytest.mark.parametrize("kind", KINDS)


def documents(a):
    """Indices of documents, for the golden mask between them."""
    return (~a["out/docmask"]).int().argmax(-1)


@pytest.mark.parametrize(
    ("dtype", "values", "gradients"), [(torch.float64, 1e-9, 1e-9), (torch.float32, 1e-5, 1e-4)]
)
@both
def test_golden_logits_loss_and_gradients(
    imported, own_gradients, near, kind, dtype, values, gradients
):
    model, a, state = imported(kind, dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    logits = model(input_ids=a["in/tokens"], sequence_ids=documents(a)).logits
    near(logits, a["out/logits"], values)
    loss = F.cross_entropy(logits.flatten(0, 1), a["in/labels"].flatten(), ignore_index=-100)
    near(loss, a["out/loss"], values)
    loss.backward()
    expected = own_gradients(model, a.below("grad/param/"), state)
    checked = 0
    for name, parameter in model.named_parameters():
        found, wanted = parameter.grad, expected[name]
        if name == "model.embed_tokens.weight":
            # Here the time has no gradient; the optimiser's tangent vectors are the same.
            points = state["embed.embedding" if kind == "helm_mice" else "token_embed.embedding"]
            found, wanted = (
                to_tangent(points, time_flipped(g.double()), 1.0) for g in (found, wanted)
            )
        near(found, wanted, gradients, name, least=1e-2 if dtype == torch.float32 else 1e-3)
        checked += 1
    assert checked == len(list(model.parameters())) > 30


def public_state(model):
    """The live weights of a model under their public names."""
    own, found = dict(model.named_parameters()) | dict(model.named_buffers()), {}
    for name, tensor in own.items():
        if name.endswith("_time"):
            continue
        if (time := time_column(name)) in own:
            tensor = torch.cat([own[time].unsqueeze(-1), tensor], dim=-1)
        names = public_names(name, model.config)
        for row, parts in zip(tensor if ".mlp.experts." in name else [tensor], names, strict=True):
            K = name.endswith("log_curvature")
            pieces = [row.exp()] if K else row.chunk(len(parts))
            found |= dict(zip(parts, pieces, strict=True))
    return found


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("helm_d", {}),
        ("helm_d", {"head_dim": 7}),  # its last coordinate is not rotated
        ("helm_d", {"hidden_size": 8, "num_attention_heads": 1}),
        *(("helm_mice", {"num_experts_per_tok": k, "merge": "helm"}) for k in (1, 2, 3)),
        *(("helm_mice", {"num_experts_per_tok": k, "merge": "centroid"}) for k in (1, 2, 3)),
    ],
)
def test_literal_logits_and_gradients(config, reference, near, kind, options):
    """Without golden arrays; with them, by random weights and for more options."""
    torch.manual_seed(0)
    model = HelmForCausalLM(config(kind, embedding="lifted", **options)).double()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and "curvature" not in name:  # time columns are zero
            parameter.data += 0.1 * torch.randn_like(parameter)
    ids = torch.randint(0, 53, (2, 6))
    logits = model(input_ids=ids).logits
    state = public_state(model)
    forbidden = torch.ones(2, 6, 6, dtype=torch.bool).triu(1)
    literal = getattr(reference, kind)(ids, state, model.config, forbidden)
    near(logits, literal, 1e-9)
    cotangent, parameters = torch.randn_like(logits), list(model.parameters())
    found, expected = (
        torch.autograd.grad(out, parameters, cotangent, materialize_grads=True)
        for out in (logits, literal)
    )
    for (name, _), one, other in zip(model.named_parameters(), found, expected, strict=True):
        near(one, other, 1e-8, name)
    weights = own_weights(state, model.config, model.state_dict())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor)


@both
def test_the_loss_is_the_shifted_cross_entropy_and_in_training_the_balance(imported, near, kind):
    model, a, _ = imported(kind, balance_loss=0.5)
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


@both
def test_documents_of_a_packed_row_do_not_see_each_other(imported, near, kind):
    model, a, _ = imported(kind)
    ids = a["in/tokens"][:1]
    apart = torch.cat([model(input_ids=ids[:, :9]).logits, model(input_ids=ids[:, 9:]).logits], 1)
    row = (torch.arange(16) >= 9).long().unsqueeze(0)
    near(model(input_ids=ids, sequence_ids=row).logits, apart, 1e-9)
    anew = torch.cat([torch.arange(9), torch.arange(7)]).unsqueeze(0)
    near(model(input_ids=ids, position_ids=anew, use_cache=False).logits, apart, 1e-9)
    mask = (row.unsqueeze(1) == row.unsqueeze(2)) & torch.ones(16, 16, dtype=torch.bool).tril()
    near(model(input_ids=ids, attention_mask=mask.unsqueeze(1)).logits, apart, 1e-9)


@both
def test_documents_need_complete_rows_of_their_shape(imported, kind):
    model, a, _ = imported(kind)
    ids, row = a["in/tokens"][:1], torch.zeros(1, 16, dtype=torch.long)
    with pytest.raises(ValueError, match=r"must be \(batch, tokens\) = \(1, 16\), not \(1, 15\)"):
        model(input_ids=ids, sequence_ids=row[:, 1:])
    with pytest.raises(ValueError, match="exclude each other: give one"):
        model(input_ids=ids, sequence_ids=row, attention_mask=torch.ones(1, 1, 16, 16).bool())
    cache = model(input_ids=ids, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="need complete rows"):
        model(input_ids=ids[:, :1], sequence_ids=row[:, :1], past_key_values=cache)
    # padding and documents
    mask = torch.ones(1, 16, dtype=torch.long)
    mask[0, :4] = 0
    found = model(input_ids=ids, sequence_ids=row, attention_mask=mask).logits[:, 4:]
    assert torch.allclose(found, model(input_ids=ids[:, 4:]).logits)


@both
def test_padding_on_the_left_has_finite_gradients_and_changes_nothing(imported, near, kind):
    model, a, _ = imported(kind, torch.float32)
    ids, mask = a["in/tokens"], torch.ones(2, 16, dtype=torch.long)
    mask[0, :6] = 0
    logits = model(input_ids=ids, attention_mask=mask).logits
    near(logits[:1, 6:], model(input_ids=ids[:1, 6:]).logits, 1e-5)
    (logits * mask.unsqueeze(-1)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@both
def test_an_attention_backend_changes_nothing(imported, near, kind):
    model, a, _ = imported(kind)
    mask = torch.ones(2, 16, dtype=torch.long)
    mask[0, :5] = 0
    expected = model(input_ids=a["in/tokens"], attention_mask=mask).logits
    model.set_attn_implementation("eager")
    found = model(input_ids=a["in/tokens"], attention_mask=mask).logits
    near(found[1], expected[1], 1e-9)
    near(found[0, 5:], expected[0, 5:], 1e-9)


@both
def test_only_the_last_logits(imported, near, kind):
    model, a, _ = imported(kind)
    ids = a["in/tokens"]
    whole = model(input_ids=ids).logits
    near(model(input_ids=ids, logits_to_keep=3).logits, whole[:, -3:], 1e-9)
    found = model(input_ids=ids, output_hidden_states=True).hidden_states
    assert len(found) == model.config.num_hidden_layers + 1
    near(found[0], model.get_input_embeddings()(ids), 1e-9)


@pytest.mark.parametrize("reentrant", [False, True])
@both
def test_gradient_checkpointing_changes_no_gradient(imported, near, kind, reentrant):
    model, a, _ = imported(kind, balance_loss=0.5, embedding="lorentz")
    ids = a["in/tokens"]
    model(input_ids=ids, labels=ids).loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model(input_ids=ids, labels=ids).loss.backward()
    for name, parameter in model.named_parameters():
        near(parameter.grad, expected[name], 1e-9, name)


def test_in_half_precision_the_logits_stay_near(imported):
    """bfloat16 has 8 bits: logits of at most 2.4 have errors of some hundredths."""
    for kind in KINDS:
        model, a, _ = imported(kind)
        expected = model(input_ids=a["in/tokens"]).logits
        for precise in (False, True):
            low, _, _ = imported(kind, float32_attention=precise)
            found = low.to(torch.bfloat16)(input_ids=a["in/tokens"]).logits
            assert found.dtype == torch.bfloat16
            assert (found - expected).abs().mean() < 0.03
        mixed, ids = imported(kind, torch.float32)[0], a["in/tokens"]
        with torch.autocast("cpu", torch.bfloat16):
            out = mixed(input_ids=ids, labels=ids)
        out.loss.backward()
        assert (out.logits - expected).abs().mean() < 0.03
        assert all(p.grad.isfinite().all() for p in mixed.parameters())


def test_curvatures(imported):
    K = imported("helm_mice")[0].curvatures()
    assert K["stream"] == 1.0 and K["model.layers.2.mlp.experts.3"] == pytest.approx(2.0)
    dense, _, _ = imported("helm_d")
    assert list(dense.curvatures()) == ["stream"]
    dense.update_balance()
