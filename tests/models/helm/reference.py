"""HELM on whole points, literally as its formulas.

Points are `[time, space]` with `<x, x> = -c`; parameters have their public names. Nothing of bench
is used, and nothing is fast.
"""

from __future__ import annotations

import math

import torch


def inner(x, y):
    return -x[..., 0] * y[..., 0] + (x[..., 1:] * y[..., 1:]).sum(-1)


def lift(space, c=1.0):
    return torch.cat([(space.square().sum(-1, keepdim=True) + c).sqrt(), space], dim=-1)


def below(state, prefix):
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def linear(x, p, c=1.0):
    return lift(x @ p["linear.weight"].T + p["linear.bias"], c)


def rescaled(x, c_from, c_to):
    return x * (torch.as_tensor(c_to, dtype=x.dtype) / c_from).sqrt()


def rms_norm(x, gain, eps=1e-8, c=1.0):
    space = x[..., 1:]
    return lift(gain * space / (space.square().mean(-1, keepdim=True) + eps).sqrt(), c)


def residual(x, y, w, gain=None, c=1.0):
    a = x + w * y
    z = math.sqrt(c) * a / (-inner(a, a)).sqrt().unsqueeze(-1)
    return z if gain is None else lift(gain * z[..., 1:], c)


def hope(space, positions, base=10000.0):
    """Rotate adjacent pairs; `space` is (batch, tokens, heads, n)."""
    width = space.shape[-1] // 2 * 2
    i = torch.arange(0, width, 2, dtype=space.dtype)
    angle = positions.to(space.dtype)[:, None] * base ** (-i / width)
    cos, sin = angle.cos()[:, None, :], angle.sin()[:, None, :]
    out = space.clone()
    even, odd = space[..., 0:width:2], space[..., 1:width:2]
    out[..., 0:width:2] = even * cos - odd * sin
    out[..., 1:width:2] = even * sin + odd * cos
    return out


def attend(q, k, v, tau, beta, forbidden, c):
    """The heads' centroids, concatenated, of points (batch, heads, tokens, n + 1)."""
    products = q[..., 1:] @ k[..., 1:].mT - q[..., :1] @ k[..., :1].mT
    scores = (2 * c + 2 * products) / tau + beta
    mean = scores.masked_fill(forbidden, -1e18).softmax(-1) @ v
    points = mean * math.sqrt(c) / (-inner(mean, mean)).sqrt().unsqueeze(-1)
    return points.transpose(1, 2).flatten(-2)


def attention(x, p, heads, forbidden, c=1.0):
    """Attention of HELM-D; `forbidden` is (batch, tokens, tokens)."""

    def split(name):
        space = x @ p[f"{name}.weight"].T + p[f"{name}.bias"]
        return space.view(*x.shape[:2], heads, -1)

    positions = torch.arange(x.shape[1])
    q, k = hope(split("Wq"), positions), hope(split("Wk"), positions)
    q, k, v = (lift(each, c).transpose(1, 2) for each in (q, k, split("Wv")))
    joined = attend(q, k, v, p["scale"], p.get("bias", 0.0), forbidden.unsqueeze(1), c)
    return lift(joined @ p["final_linear.weight"].T + p["final_linear.bias"], c)


def latent_attention(x, p, heads, rank, nope, forbidden, c=1.0):
    """HMLA; `nope` counts space coordinates."""
    batch, tokens, _ = x.shape
    positions = torch.arange(tokens)
    q = linear(x, below(p, "wq."), c)[..., 1:].view(batch, tokens, heads, -1)
    q = torch.cat([q[..., :nope], hope(q[..., nope:], positions)], dim=-1)
    a = linear(x, below(p, "wkv_a."), c)[..., 1:]
    z = rms_norm(lift(a[..., :rank], c), p["kv_norm.weight"], c=c)
    k_rope = hope(a[..., rank:].unsqueeze(2), positions).expand(-1, -1, heads, -1)
    b = linear(z, below(p, "wkv_b."), c)[..., 1:].view(batch, tokens, heads, -1)
    k = torch.cat([b[..., :nope], k_rope], dim=-1)
    q, k, v = (lift(each, c).transpose(1, 2) for each in (q, k, b[..., nope:]))
    joined = attend(q, k, v, p["softmax_scale"], p.get("bias", 0.0), forbidden, c)
    return linear(joined, below(p, "wo."), c)


def feed_forward(x, p, c=1.0):
    u = torch.nn.functional.silu(linear(x, below(p, "w1."), c)[..., 1:])
    return linear(lift(u * linear(x, below(p, "w3."), c)[..., 1:], c), below(p, "w2."), c)


def expert(x, p, c=1.0):
    own = p["expert_manifold.k"]
    return rescaled(feed_forward(rescaled(x, c, own), p, own), own, c)


def experts_layer(x, p, k=2, merge="helm", c=1.0):
    """MiCE, token by token, on points (..., D)."""
    flat = x.reshape(-1, x.shape[-1])
    scores = (flat[..., 1:] @ p["gate.weight"].T).softmax(-1)
    chosen = (scores + p["gate.bias"]).topk(k, dim=-1).indices.sort(dim=-1).values
    weights = scores.gather(1, chosen)
    shared = feed_forward(flat, below(p, "shared_experts."), c)
    w, gain = p["add_experts.w_y"], p["add_experts.scale"].exp()
    rows = []
    for token in range(len(flat)):
        out = [expert(flat[token], below(p, f"experts.{e}."), c) for e in chosen[token].tolist()]
        if merge == "centroid":
            share = weights[token] / weights[token].sum()
            y = sum(s * o for s, o in zip(share, out, strict=True))
        else:
            y = torch.zeros_like(flat[token])
            y[0] = math.sqrt(c)
            for weight, o in zip(weights[token], out, strict=True):
                y = residual(y, o, weight, 2.0, c)
        rows.append(residual(shared[token], y, w, gain, c))
    return torch.stack(rows).view(x.shape)


def head(h, p, norm, table):
    out = linear(h, below(p, "final_proj."))
    return rms_norm(out, p[f"{norm}.weight"]) @ p[f"{table}.weight"].T


def helm_d(tokens, p, config, forbidden):
    h = lift(p["token_embed.weight"][tokens])
    gain = 4 * math.sqrt(h.shape[-1])
    for i in range(config.num_hidden_layers):
        b = below(p, f"resblocks.{i}.")
        x = rms_norm(h, b["ln_1.weight"])
        branch = attention(x, below(b, "attn."), config.num_attention_heads, forbidden)
        h = residual(h, branch, b["res1.w_y"], gain)
        x = rms_norm(h, b["ln_2.weight"])
        h = residual(h, feed_forward(x, below(b, "mlp.")), b["res2.w_y"], gain)
    return head(h, p, "ln_final", "mapping")


def helm_mice(tokens, p, config, forbidden):
    h = lift(p["embed.weight"][tokens])
    gain = math.sqrt(h.shape[-1])
    sizes = (config.num_attention_heads, config.kv_lora_rank, config.qk_nope_head_dim)
    for i in range(config.num_hidden_layers):
        b = below(p, f"layers.{i}.")
        x = rms_norm(h, b["attn_norm.weight"])
        branch = latent_attention(x, below(b, "attn."), *sizes, forbidden.unsqueeze(1))
        h = residual(h, branch, b["attn_res.w_y"], gain)
        x, f = rms_norm(h, b["ffn_norm.weight"]), below(b, "ffn.")
        if "gate.weight" in f:
            branch = experts_layer(x, f, config.num_experts_per_tok, config.merge)
        else:
            branch = feed_forward(x, f)
        h = residual(h, branch, b["ffn_res.w_y"], gain)
    return head(h, p, "norm", "head")
