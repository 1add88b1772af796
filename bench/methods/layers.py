"""Names of linear layers in architectures other than LLaMA. Methods use LLaMA's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import get_pattern_key
from torch import nn

# Latent attention computes keys and values in two steps, each for all heads. Experts with stacked
# weights are not linear layers; dense blocks and shared experts have LLaMA's names.
_LATENT = {"k_proj": "kv_a_proj_with_mqa", "v_proj": "kv_b_proj"}

# By architecture. GPT-NeoX has one layer for query, key and value, and no gate. Names that a base
# has itself are kept.
_EQUIVALENTS = {
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


# Options with a value for each name or regular expression of a layer.
BY_LAYER = ("rank_pattern", "alpha_pattern", "curvature_pattern")


def in_names_of(base: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """A method's options with LLaMA's layer names replaced by the base's own.

    Args:
        base: a transformers model.
        options: the method's options; regular expressions are kept.

    Raises:
        ValueError: the base lacks a named layer. peft would silently use only those it finds.
    """
    modules = dict(base.named_modules())
    own = {path.rpartition(".")[2] for path in modules}
    equivalents = _EQUIVALENTS.get(base.config.model_type, {})
    renamed = {name: other for name, other in equivalents.items() if name not in own}
    named = dict(options)
    for key in ("target_modules", "exclude_modules", "output_modules"):
        if isinstance(options.get(key), list | tuple):
            named[key] = list(dict.fromkeys(renamed.get(name, name) for name in options[key]))
    for key in BY_LAYER:
        if isinstance(options.get(key), Mapping):
            values: dict[str, Any] = {}
            for name, value in options[key].items():
                own_name = renamed.get(name, name)
                if values.setdefault(own_name, value) != value:
                    raise ValueError(
                        f"{key} has several values for {own_name}, which is one layer of this "
                        "base: give it one"
                    )
            named[key] = values
    for key in ("target_modules", "exclude_modules", "modules_to_save"):
        names = named.get(key)
        if isinstance(names, str) and names in own:
            raise ValueError(f"{key}={names} is a regular expression: write method.{key}=[{names}]")
        if not isinstance(names, list | tuple):
            continue
        missing = [n for n in names if not any(f".{path}".endswith(f".{n}") for path in modules)]
        if missing:
            linear = {n.rpartition(".")[2] for n, m in modules.items() if isinstance(m, nn.Linear)}
            raise ValueError(
                f"{key} has {', '.join(missing)}, but this base has no such layer. Its linear "
                f"layers: {', '.join(sorted(linear))}. Use method.{key}=[NAME,NAME]"
            )
    chosen = named.get("layers_to_transform") or []
    for block in chosen if isinstance(chosen, list | tuple) else [chosen]:
        blocks = base.config.get_text_config().num_hidden_layers
        if not 0 <= block < blocks:
            raise ValueError(f"layers_to_transform has {block}; this base has {blocks} layers")
    return named


def check_patterns(model: Any, options: Mapping[str, Any]) -> None:
    """Raise ValueError if an option of `BY_LAYER` has two values for a layer, or matches none."""
    adapted = [
        name.removeprefix("base_model.model.")
        for name, layer in model.named_modules()
        if isinstance(layer, BaseTunerLayer)
    ]
    for option in BY_LAYER:
        values = options.get(option) or {}
        used: set[str] = set()
        for name in adapted:
            # peft takes the first, but a run's identity does not depend on their order.
            alike = [key for key in values if get_pattern_key([key], name) == key]
            if any(values[key] != values[alike[0]] for key in alike):
                raise ValueError(
                    f"{option} has several values for the layer {name}: {', '.join(alike)}. Give "
                    "names that exclude each other"
                )
            used.update(alike)
        for key in values:
            if key not in used:
                known = sorted({name.rpartition(".")[2] for name in adapted})
                raise ValueError(
                    f"{option} has {key}, but no adapted layer has such a name. The adapted "
                    f"layers: {', '.join(known)}"
                )
