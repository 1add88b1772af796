"""The linear layers of a base under the names that methods have for them: LLaMA's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

# Latent attention makes keys and values in two steps, of all heads together: what would adapt
# either adapts both. Experts whose weights are stacked are no layers; the dense blocks and the
# shared experts have the names of LLaMA's.
_LATENT = {"k_proj": "kv_a_proj_with_mqa", "v_proj": "kv_b_proj"}

# What plays the part of LLaMA's layers in an architecture that has other names. GPT-NeoX has query,
# key and value in one layer and no gate: it is adapted once where several of them are named. A name
# that a base has itself stays.
OTHER_NAMES = {
    "gpt_neox": {
        "q_proj": "query_key_value",
        "k_proj": "query_key_value",
        "v_proj": "query_key_value",
        "o_proj": "dense",
        "gate_proj": "dense_h_to_4h",
        "up_proj": "dense_h_to_4h",
        "down_proj": "dense_4h_to_h",
    },
    "deepseek_v3": _LATENT,
    "helm": _LATENT,
}
NAMING = ("target_modules", "output_modules")


def in_names_of(base: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """A method's options with the names that a base has for its layers.

    Args:
        base: a transformers model.
        options: of the method; a regular expression is left as it is.

    Raises:
        ValueError: the base has no layer of a name. peft would go on with those it finds, and what
            is called LoRA on all layers would be LoRA on one of them.
    """
    config = getattr(base, "config", None)
    other = OTHER_NAMES.get(getattr(config, "model_type", ""), {})
    there = {name.rpartition(".")[2] for name, _ in base.named_modules()} if other else set()
    other = {name: own for name, own in other.items() if name not in there}
    named = dict(options)
    for key in NAMING:
        if isinstance(options.get(key), list | tuple):
            named[key] = list(dict.fromkeys(other.get(name, name) for name in options[key]))
    targets = named.get("target_modules")
    if isinstance(targets, list):
        paths = [name for name, _ in base.named_modules()]
        missing = [t for t in targets if not any(f".{n}".endswith(f".{t}") for n in paths)]
        if missing:
            linear = {
                n.rpartition(".")[2] for n, m in base.named_modules() if isinstance(m, nn.Linear)
            }
            raise ValueError(
                f"target_modules names {', '.join(missing)}, and this base has no such layer: its "
                f"linear layers are {', '.join(sorted(linear))}. Give method.target_modules="
                "[NAME,NAME]"
            )
    return named


def has_latent_attention(base: Any) -> bool:
    """Whether a base makes keys and values of a latent, which is all that it caches of them."""
    return any(name.endswith(".kv_b_proj") for name, _ in base.named_modules())
