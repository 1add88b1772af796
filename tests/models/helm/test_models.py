"""Whole models against golden arrays of the public code, literal forms, and themselves."""

import pytest
import torch
import torch.nn.functional as F

from bench.geometry.tangent import time_flipped, to_tangent
from bench.models.helm import HelmForCausalLM
from bench.models.helm.importer import own_weights, public_names, time_column

KINDS = ("helm_d", "helm_mice")
both = pytest.mark.parametrize("kind", KINDS)


IDS = torch.arange(32).view(2, 16) * 7 % 53


@pytest.fixture
def imported(golden, config):
    """A function that gives a golden model in training mode, and its arrays."""

    def load(kind, dtype=torch.float64, **options):
        a = golden(f"{kind}_tiny")
        state = {name: tensor.to(dtype) for name, tensor in a.below("param/").items()}
        return HelmForCausalLM.from_public(state, config(kind, **options)).train(), a

    return load


@pytest.fixture
def random_model(config):
    """A function that gives a model with random weights, in training mode and float64."""

    def make(kind, **options):
        torch.manual_seed(0)
        model = HelmForCausalLM(config(kind, **{"embedding": "lifted", **options})).double()
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "curvature" not in name:  # time columns are zero
                parameter.data += 0.1 * torch.randn_like(parameter)
        return model.train()

    return make


@pytest.mark.parametrize(
    ("dtype", "values", "gradients"), [(torch.float64, 1e-9, 1e-9), (torch.float32, 1e-5, 1e-4)]
)
@both
def test_golden_logits_loss_and_gradients(imported, near, kind, dtype, values, gradients):
    model, a = imported(kind, dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    documents = (~a["out/docmask"]).int().argmax(-1)
    logits = model(input_ids=a["in/tokens"], sequence_ids=documents).logits
    near(logits, a["out/logits"], values)
    loss = F.cross_entropy(logits.flatten(0, 1), a["in/labels"].flatten(), ignore_index=-100)
    near(loss, a["out/loss"], values)
    loss.backward()
    public, state = a.below("grad/param/"), a.below("param/")
    public = {name: public.get(name, 0 * weight) for name, weight in state.items()}
    for name, weight in state.items():
        if name.endswith("expert_manifold.k"):  # we learn log K, and the importer takes a log
            public[name] = (public[name] * weight).exp()
    expected = own_weights(public, model.config, model.state_dict())
    assert len(expected) > 30
    for name, parameter in model.named_parameters():
        found, wanted = parameter.grad, expected[name]
        if name == "model.embed_tokens.weight":
            # Here the time has no gradient; the optimiser's tangent vectors are the same.
            points = state["embed.embedding" if kind == "helm_mice" else "token_embed.embedding"]
            found, wanted = (
                to_tangent(points, time_flipped(g.double()), 1.0) for g in (found, wanted)
            )
        near(found, wanted, gradients, name, least=1e-2 if dtype == torch.float32 else 1e-3)


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
            pieces = [row.exp()] if name.endswith("curvature") else row.chunk(len(parts))
            found |= dict(zip(parts, pieces, strict=True))
    return found


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("helm_d", {}),
        ("helm_d", {"head_dim": 7}),  # its last coordinate is not rotated
        *(("helm_mice", {"num_experts_per_tok": k, "merge": "helm"}) for k in (1, 3)),
        *(("helm_mice", {"num_experts_per_tok": k, "merge": "centroid"}) for k in (1, 3)),
    ],
)
def test_literal_logits_and_gradients(random_model, reference, near, kind, options):
    """Without golden arrays, and for more options."""
    model, ids = random_model(kind, **options), IDS[:, :6]
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
def test_the_loss_is_cross_entropy_and_in_training_the_balance_loss(random_model, near, kind):
    model = random_model(kind, balance_loss=0.5)
    out = model(input_ids=IDS, labels=IDS)
    plain = F.cross_entropy(out.logits[:, :-1].flatten(0, 1).float(), IDS[:, 1:].flatten())
    assert out.aux_loss is None if kind == "helm_d" else out.aux_loss > 0.1
    near(out.loss, plain + (out.aux_loss or 0), 1e-6)
    near(model.eval()(input_ids=IDS, labels=IDS).loss, plain, 1e-6)


@both
def test_documents_of_a_packed_row_are_independent(random_model, near, kind):
    model, ids = random_model(kind), IDS[:1]
    apart = torch.cat([model(input_ids=ids[:, :9]).logits, model(input_ids=ids[:, 9:]).logits], 1)
    row = (torch.arange(16) >= 9).long().unsqueeze(0)
    restarted = torch.cat([torch.arange(9), torch.arange(7)]).unsqueeze(0)
    mask = (row.unsqueeze(1) == row.unsqueeze(2)) & torch.ones(16, 16, dtype=torch.bool).tril()
    for given in (
        {"sequence_ids": row},
        {"position_ids": restarted, "use_cache": False},
        {"attention_mask": mask.unsqueeze(1)},
    ):
        near(model(input_ids=ids, **given).logits, apart, 1e-9)
    padding = (torch.arange(16) >= 4).long().unsqueeze(0)
    found = model(input_ids=ids, sequence_ids=0 * row, attention_mask=padding).logits[:, 4:]
    near(found, model(input_ids=ids[:, 4:]).logits, 1e-9)


@both
def test_documents_need_complete_rows_of_their_shape(random_model, kind):
    model, ids, row = random_model(kind), IDS[:1], torch.zeros(1, 16, dtype=torch.long)
    with pytest.raises(ValueError, match=r"must be \(batch, tokens\) = \(1, 16\), not \(1, 15\)"):
        model(input_ids=ids, sequence_ids=row[:, 1:])
    with pytest.raises(ValueError, match="exclude each other: give one"):
        model(input_ids=ids, sequence_ids=row, attention_mask=torch.ones(1, 1, 16, 16).bool())
    cache = model(input_ids=ids, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="need complete rows"):
        model(input_ids=ids[:, :1], sequence_ids=row[:, :1], past_key_values=cache)


@both
@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_left_padding_changes_no_logits_and_has_finite_gradients(random_model, near, kind, backend):
    model, mask = random_model(kind).float(), torch.ones(2, 16, dtype=torch.long)
    mask[0, :6] = 0
    expected = model(input_ids=IDS[:1, 6:]).logits, model(input_ids=IDS[1:]).logits
    model.set_attn_implementation(backend)
    logits = model(input_ids=IDS, attention_mask=mask).logits
    near(logits[:1, 6:], expected[0], 1e-5)
    near(logits[1:], expected[1], 1e-5)
    (logits * mask.unsqueeze(-1)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@both
def test_last_logits_and_hidden_states(random_model, near, kind):
    model = random_model(kind)
    whole = model(input_ids=IDS, output_hidden_states=True)
    near(model(input_ids=IDS, logits_to_keep=3).logits, whole.logits[:, -3:], 1e-9)
    assert len(whole.hidden_states) == model.config.num_hidden_layers + 1
    near(whole.hidden_states[0], model.get_input_embeddings()(IDS), 1e-9)


@pytest.mark.parametrize("reentrant", [False, True])
@both
def test_gradient_checkpointing_changes_no_gradient(random_model, near, kind, reentrant):
    model = random_model(kind, balance_loss=0.5, embedding="lorentz")
    model(input_ids=IDS, labels=IDS).loss.backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model(input_ids=IDS, labels=IDS).loss.backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        near(parameter.grad, gradient, 1e-9)
