"""Weights of the public HELM code under the names that they have here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import InputError
from bench.models.helm.config import HelmConfig

# In a public checkpoint, but of no effect: positions that are never added, a bias that the softmax
# leaves out, tables that are made anew.
_DEAD = re.compile(r"(^|\.)(add_pos\.\w+|attn\.bias|attn_mask|freqs_complex)$")
# Every layer stores the curvature of its hyperboloid, under one name or two.
_CURVATURE = re.compile(r"\.[kc]$")
_EXPERT = re.compile(r"^(layers\.\d+\.ffn\.experts\.\d+)\.")

# Names of a block's modules here and there: linear layers on whole points, by kind of attention and
# by layer. A layer called X_proj has its time column in X_time beside it.
_ATTENTION = {
    "helm_d": {"q": "Wq", "k": "Wk", "v": "Wv"},
    "helm_mice": {"q": "wq.linear", "kv_a": "wkv_a.linear", "kv_b": "wkv_b.linear"},
}
_FEED_FORWARD = {"gate": "w1.linear", "up": "w3.linear", "down": "w2.linear"}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights of a public checkpoint's file; nothing in it is executed.

    Args:
        path: a safetensors file, or one of torch.save that holds tensors alone.

    Raises:
        InputError: there is none, or it can't be read so.
    """
    path = Path(path).expanduser()
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is wrong in a file makes either library raise anything
        raise InputError(f"{path} can't be read as weights alone: {error}") from error
    return dict(found.get("model_state_dict", found) if isinstance(found, Mapping) else {})


def own_weights(state: Mapping[str, Tensor], config: HelmConfig) -> dict[str, Tensor]:
    """A public state dict under our names.

    Args:
        state: weights `[out, in]`, the time coordinate first.
        config: of the model that they are for.

    Returns:
        The state dict of a :class:`HelmForCausalLM` of this configuration.

    Raises:
        InputError: weights are missing or unknown, or have another shape; or the curvatures that
            the layers store do not agree.
    """
    return _Import(state, config).weights()


class _Import:
    """Takes each public weight once, so that what is left over is known."""

    def __init__(self, state: Mapping[str, Tensor], config: HelmConfig) -> None:
        self.left, self.config = dict(state), config
        self.found: dict[str, Tensor] = {}
        self.missing: list[str] = []

    def weights(self) -> dict[str, Tensor]:
        config = self.config
        dense = config.kind == "helm_d"
        self._embedding("token_embed" if dense else "embed")
        for i in range(config.num_hidden_layers):
            (self._dense_block if dense else self._mice_block)(i)
        self._linear("model.final", "final_proj.linear")
        self._copy("model.norm.weight", "ln_final.weight" if dense else "norm.weight")
        head = self._take("mapping.weight" if dense else "head.weight")
        if head is not None:
            self.found["lm_head_time"] = head[:, 0]
            self.found["lm_head.weight"] = head[:, 1:]
        self._check_left()
        return {name: tensor.clone() for name, tensor in self.found.items()}

    def _take(self, name: str) -> Tensor | None:
        if name not in self.left:
            self.missing.append(name)
            return None
        return self.left.pop(name).detach()

    def _copy(self, own: str, public: str, scalar: bool = False) -> None:
        tensor = self._take(public)
        if tensor is not None:
            self.found[own] = tensor.reshape(1) if scalar else tensor

    def _linear(self, own: str, public: str, end: str = "proj") -> None:
        """A linear layer on whole points, by the beginning of its name here."""
        weight = self._take(f"{public}.weight")
        if weight is not None:
            self.found[f"{own}_time"] = weight[:, 0]
            self.found[f"{own}_{end}.weight"] = weight[:, 1:]
        self._copy(f"{own}_{end}.bias", f"{public}.bias")

    def _embedding(self, there: str) -> None:
        points, table = f"{there}.embedding", f"{there}.weight"
        lorentz = self.config.embedding == "lorentz"
        if (table if lorentz else points) in self.left:
            other = "lifted" if lorentz else "lorentz"
            raise InputError(
                f"this checkpoint's embedding is not '{self.config.embedding}': take "
                f"HelmConfig(embedding='{other}')"
            )
        self._copy("model.embed_tokens.weight", points if lorentz else table)

    def _attention(self, own: str, public: str) -> None:
        dense = self.config.kind == "helm_d"
        for name, other in _ATTENTION[self.config.kind].items():
            end = "proj_with_mqa" if name == "kv_a" else "proj"  # as DeepSeek-V3 calls it
            self._linear(f"{own}.{name}", f"{public}.{other}", end)
        if not dense:
            self._copy(f"{own}.kv_a_layernorm.weight", f"{public}.kv_norm.weight")
        output, scale = ("final_linear", "scale") if dense else ("wo.linear", "softmax_scale")
        for part in ("weight", "bias"):  # on joined heads, which are no point
            self._copy(f"{own}.o_proj.{part}", f"{public}.{output}.{part}")
        self._copy(f"{own}.temperature", f"{public}.{scale}", scalar=True)

    def _feed_forward(self, own: str, public: str) -> None:
        for name, other in _FEED_FORWARD.items():
            self._linear(f"{own}.{name}", f"{public}.{other}")

    def _dense_block(self, i: int) -> None:
        own, public = f"model.layers.{i}", f"resblocks.{i}"
        self._copy(f"{own}.input_layernorm.weight", f"{public}.ln_1.weight")
        self._copy(f"{own}.post_attention_layernorm.weight", f"{public}.ln_2.weight")
        self._copy(f"{own}.attention_residual.weight", f"{public}.res1.w_y", scalar=True)
        self._copy(f"{own}.mlp_residual.weight", f"{public}.res2.w_y", scalar=True)
        self._attention(f"{own}.self_attn", f"{public}.attn")
        self._feed_forward(f"{own}.mlp", f"{public}.mlp")

    def _mice_block(self, i: int) -> None:
        own, public = f"model.layers.{i}", f"layers.{i}"
        self._copy(f"{own}.input_layernorm.weight", f"{public}.attn_norm.weight")
        self._copy(f"{own}.post_attention_layernorm.weight", f"{public}.ffn_norm.weight")
        self._copy(f"{own}.attention_residual.weight", f"{public}.attn_res.w_y", scalar=True)
        self._copy(f"{own}.mlp_residual.weight", f"{public}.ffn_res.w_y", scalar=True)
        self._attention(f"{own}.self_attn", f"{public}.attn")
        own, public = f"{own}.mlp", f"{public}.ffn"
        if i < self.config.first_k_dense_replace:
            self._feed_forward(own, public)
            return
        self._copy(f"{own}.gate.weight", f"{public}.gate.weight")
        self._copy(f"{own}.gate.e_score_correction_bias", f"{public}.gate.bias")
        self._feed_forward(f"{own}.shared_experts", f"{public}.shared_experts")
        self._copy(f"{own}.merge.weight", f"{public}.add_experts.w_y", scalar=True)
        self._copy(f"{own}.merge.log_gain", f"{public}.add_experts.scale", scalar=True)
        self._experts(f"{own}.experts", f"{public}.experts")

    def _experts(self, own: str, public: str) -> None:
        """Experts one by one become layers of all of them."""
        each: dict[str, list[Tensor]] = {}
        for e in range(self.config.n_routed_experts):
            taken = {
                f"{w}.{part}": self._take(f"{public}.{e}.{w}.linear.{part}")
                for w in ("w1", "w2", "w3")
                for part in ("weight", "bias")
            }
            curvature = self._take(f"{public}.{e}.expert_manifold.k")
            parts = {name: tensor for name, tensor in taken.items() if tensor is not None}
            if len(parts) < len(taken) or curvature is None:
                continue  # what is missing is on the list
            if not curvature.item() > 0:
                raise InputError(f"{public}.{e} has K = {curvature.item()}: it must be positive")
            self._check_aliases(f"{public}.{e}", curvature)
            inner = torch.cat([parts["w1.weight"], parts["w3.weight"]])
            for name, tensor in (
                ("gate_up_proj", inner[:, 1:]),
                ("gate_up_time", inner[:, 0]),
                ("gate_up_bias", torch.cat([parts["w1.bias"], parts["w3.bias"]])),
                ("down_proj", parts["w2.weight"][:, 1:]),
                ("down_time", parts["w2.weight"][:, 0]),
                ("down_bias", parts["w2.bias"]),
                ("log_curvature", curvature.reshape(()).log()),
            ):
                each.setdefault(name, []).append(tensor)
        for name, tensors in each.items():
            self.found[f"{own}.{name}"] = torch.stack(tensors)

    def _check_aliases(self, expert: str, curvature: Tensor) -> None:
        """Other names of an expert's K; its outer hyperboloid is the stream's."""
        names = [n for n in self.left if n.startswith(f"{expert}.") and _CURVATURE.search(n)]
        for name in names:
            K = self.left.pop(name).item()
            if K not in (curvature.item(), self.config.curvature):
                raise InputError(
                    f"the checkpoint stores curvatures that do not agree: {name} is {K}, and "
                    f"{expert}.expert_manifold.k is {curvature.item()}"
                )

    def _check_left(self) -> None:
        for name in list(self.left):
            if _DEAD.search(name):
                del self.left[name]
            elif _CURVATURE.search(name) and not _EXPERT.match(name):
                K, stream = self.left.pop(name).item(), self.config.curvature
                if stream != K:
                    raise InputError(
                        f"the checkpoint stores curvatures that do not agree: {name} is {K}, and "
                        f"the configuration's curvature is {self.config.curvature}"
                    )
        for what, names in (("lacks", self.missing), ("has unknown", sorted(self.left))):
            if names:
                raise InputError(
                    f"the checkpoint {what} {len(names)} weights, such as {names[0]}: is it of "
                    f"{self.config.num_hidden_layers} layers, a {self.config.kind}?"
                )
