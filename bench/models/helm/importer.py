"""Weights of the public HELM code under the names that they have here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import InputError
from bench.models.helm.config import HelmConfig

# Entries of public checkpoints without effect: positions that are never added, a bias that cancels
# in the softmax, tables that are recomputed.
_UNUSED = re.compile(r"(^|\.)(add_pos\.\w+|attn\.bias|attn_mask|freqs_complex)$")
# Every layer stores the curvature of its hyperboloid, under one or two names.
_CURVATURE = re.compile(r"\.[kc]$")

# Parts of our names, and what replaces them, in this order, in public HELM-D and HELM-MiCE.
_PUBLIC = {
    "model.layers": ("resblocks", "layers"),
    "model.embed_tokens": ("token_embed", "embed"),
    "input_layernorm": ("ln_1", "attn_norm"),
    "post_attention_layernorm": ("ln_2", "ffn_norm"),
    "attention_residual.weight": ("res1.w_y", "attn_res.w_y"),
    "mlp_residual.weight": ("res2.w_y", "ffn_res.w_y"),
    "self_attn": ("attn", "attn"),
    "q_proj": ("Wq", "wq.linear"),
    "k_proj": ("Wk", ""),
    "v_proj": ("Wv", ""),
    "kv_a_proj_with_mqa": ("", "wkv_a.linear"),
    "kv_a_layernorm": ("", "kv_norm"),
    "kv_b_proj": ("", "wkv_b.linear"),
    "o_proj": ("final_linear", "wo.linear"),
    "temperature": ("scale", "softmax_scale"),
    "mlp.": ("mlp.", "ffn."),
    "gate_proj": ("w1.linear", "w1.linear"),
    "up_proj": ("w3.linear", "w3.linear"),
    "down_proj": ("w2.linear", "w2.linear"),
    "e_score_correction_bias": ("", "bias"),
    "merge.weight": ("", "add_experts.w_y"),
    "merge.log_gain": ("", "add_experts.scale"),
    "model.final_proj": ("final_proj.linear", "final_proj.linear"),
    "model.norm": ("ln_final", "norm"),
    "lm_head": ("mapping", "head"),
}
# Our weights of all experts, and what is concatenated for each of them.
_EXPERT = {
    "gate_up_proj": ("w1.linear.weight", "w3.linear.weight"),
    "gate_up_bias": ("w1.linear.bias", "w3.linear.bias"),
    "down_proj": ("w2.linear.weight",),
    "down_bias": ("w2.linear.bias",),
    "log_curvature": ("expert_manifold.k",),
}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file, or one of torch.save with tensors only; InputError if impossible."""
    path = Path(path).expanduser()
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # for a broken file, both libraries raise anything
        raise InputError(f"{path} can't be read with weights_only=True: {error}") from error
    return dict(found.get("model_state_dict", found) if isinstance(found, Mapping) else {})


def own_weights(
    state: Mapping[str, Tensor], config: HelmConfig, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Translate a public state dict, with the time coordinate first, to that of a model.

    `expected` is the model's state dict, for its names and shapes.

    Raises:
        InputError: Weights are missing or unknown, or have other shapes; or the curvatures that the
            layers store do not agree.
    """
    sources = {n: public_names(n, config) for n in expected if not n.endswith("_time")}
    _check_names(state, config, [n for each in sources.values() for part in each for n in part])
    found = {}
    for name, each in sources.items():
        parts = [torch.cat([torch.atleast_1d(state[n].detach()) for n in part]) for part in each]
        if name.endswith("log_curvature"):
            tensor = torch.cat([K.log() for K in parts])
        else:
            tensor = torch.stack(parts) if ".mlp.experts." in name else parts[0]
        if (time := time_column(name)) in expected:
            found[time], tensor = tensor[..., 0], tensor[..., 1:]
        found[name] = tensor
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"the checkpoint's {name} has the shape {tuple(tensor.shape)}, but the "
                f"configuration requires {tuple(expected[name].shape)}"
            )
    return {name: tensor.clone() for name, tensor in found.items()}


def time_column(name: str) -> str:
    """The name of a linear layer's time column, if it has one, for that of its weight."""
    return re.sub(r"(_proj(_with_mqa)?)?(\.weight)?$", "_time", name, count=1)


def public_names(name: str, config: HelmConfig) -> list[list[str]]:
    """The public names of a weight, for each expert or in a list of one."""
    prefix, _, end = name.rpartition(".")
    for own, kinds in _PUBLIC.items():
        public = kinds[config.kind == "helm_mice"]
        prefix, name = prefix.replace(own, public), name.replace(own, public)
    if end in _EXPERT:
        experts = range(config.n_routed_experts)
        return [[f"{prefix}.{e}.{part}" for part in _EXPERT[end]] for e in experts]
    if config.embedding == "lorentz":
        name = re.sub(r"embed\.weight$", "embed.embedding", name)
    return [[name]]


def _check_names(state: Mapping[str, Tensor], config: HelmConfig, used: Iterable[str]) -> None:
    """Refuse missing and unknown names, and curvatures that differ from those of the model."""
    used, unknown = dict.fromkeys(used), []
    for name in sorted(state):
        if _CURVATURE.search(name):
            # Layers of an expert store its curvature, or that of the stream.
            expert = re.match(r"layers\.\d+\.ffn\.experts\.\d+\.", name)
            own = state.get(f"{expert[0]}expert_manifold.k") if expert else None
            allowed = [config.curvature] if own is None else [own.item(), config.curvature]
            K = state[name].item()
            if K not in allowed:
                raise InputError(
                    f"the checkpoint stores inconsistent curvatures: {name} is {K}, expected "
                    f"{' or '.join(map(str, allowed))}"
                )
            if not K > 0:
                raise InputError(f"{name} is K = {K}: it must be positive")
        elif name not in used and not _UNUSED.search(name):
            unknown.append(name)
    missing = [name for name in used if name not in state]
    for what, names in (("lacks", missing), ("has unknown", unknown)):
        if names:
            raise InputError(
                f"the checkpoint {what} {len(names)} weights, such as {names[0]}: is it a "
                f"{config.kind} of {config.num_hidden_layers} layers with embedding="
                f"'{config.embedding}'?"
            )
