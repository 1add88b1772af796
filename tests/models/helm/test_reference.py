"""The literal forms give the golden arrays: so they can stand for them where there are none."""

import pytest
import torch

TOLERANCE = 1e-9


@pytest.mark.parametrize("name", ["lorentz_linear_c1", "lorentz_linear_c1_to_c2"])
def test_linear(golden, reference, near, name):
    a = golden(name)
    c_out = 2.0 if "to_c2" in name else 1.0
    full = reference.rescaled(reference.linear(a["in/x"], a.below("param/")), 1.0, c_out)
    near(full, a["out/full"], TOLERANCE)
    near(full[..., 1:], a["out/space"], TOLERANCE)


def test_norm_and_feed_forward(golden, reference, near):
    a = golden("rmsnorm_c1.0")
    near(reference.rms_norm(a["in/x"], a["param/weight"]), a["out/full"], TOLERANCE)
    a = golden("swiglu_ffn")
    near(reference.feed_forward(a["in/x"], a.below("param/")), a["out/y"], TOLERANCE)


@pytest.mark.parametrize(("kind", "c"), [("noscale", 1.0), ("fixed", 1.0), ("learned", 1.3)])
def test_residual(golden, reference, near, kind, c):
    a = golden(f"lresnet_{kind}")
    gain = {"noscale": None, "fixed": 5.0}.get(kind) if kind != "learned" else None
    if kind == "learned":
        gain = a["param/scale"].exp()
    out = reference.residual(a["in/x"], a["in/y"], a["param/w_y"], gain, c)
    near(out, a["out/y"], TOLERANCE)


def test_attentions(golden, reference, near):
    a = golden("attention_c1.0")
    out, weights = reference.attention(a["in/x"], a.below("param/"), 3, a["in/mask"])
    near(out, a["out/y"], TOLERANCE)
    near(weights, a["out/attn"], TOLERANCE)
    a = golden("hmla_c1.0")
    out = reference.latent_attention(a["in/x"], a.below("param/"), 3, 11, 6, 4, a["in/mask"])
    near(out, a["out/y"], TOLERANCE)


@pytest.mark.parametrize("kind", ["equal", "distinct"])
def test_experts(golden, reference, near, kind):
    a = golden(f"mice_{kind}")
    near(reference.experts_layer(a["in/x"], a.below("param/"), 4), a["out/y"], TOLERANCE)
    for e in (0, 3):
        b = golden(f"mice_{kind}_expert{e}")
        near(reference.expert(b["in/x"], b.below("param/")), b["out/y"], TOLERANCE)


def test_models(golden, reference, near):
    a = golden("helm_d_tiny")
    tokens = a["in/tokens"]
    forbidden = a["out/docmask"] | torch.ones(16, 16, dtype=torch.bool).triu(1)
    near(reference.helm_d(tokens, a.below("param/"), 2, 3, forbidden), a["out/logits"], TOLERANCE)
    a = golden("helm_mice_tiny")
    forbidden = a["out/docmask"] | torch.ones(16, 16, dtype=torch.bool).triu(1)
    sizes = {"layers": 3, "heads": 3, "rank": 11, "nope": 6, "rope": 4, "experts": 4}
    found = reference.helm_mice(a["in/tokens"], a.below("param/"), sizes, forbidden)
    near(found, a["out/logits"], TOLERANCE)
