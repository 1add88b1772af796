"""The PEFT methods. Importing this package registers ours with peft.

    import bench.methods
    model = peft.get_peft_model(base, bench.methods.HypLoraConfig(r=16, curvature=0.5))

A method is a module here with `config(options)`, which returns a peft configuration (None for the
base without an adapter), and a YAML in conf/method/ that names the module and its options. A method
with options that are measured on the base also has `calibrated(base, options, prompts)`, which
returns the options for `config`.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from peft import PeftConfig, PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from bench.methods.bottleneck import BottleneckConfig
from bench.methods.hyplora import AUTO, HypLoraConfig
from bench.methods.hyplora.statistics import gate_statistics, warn_of_gates
from bench.methods.layers import check_patterns, in_names_of

__all__ = [
    "AUTO",
    "BottleneckConfig",
    "HypLoraConfig",
    "attach",
    "count_parameters",
    "gate_statistics",
    "is_ours",
    "peft_config",
    "provisional_config",
    "quiet_peft",
    "warn_of_gates",
]


def peft_config(module: str, options: Mapping[str, Any]) -> PeftConfig | None:
    """A method's peft configuration; None for the base without an adapter.

    Raises:
        ValueError: unknown module, or an option out of range, such as the curvature "auto", which
            only :func:`attach` can replace by numbers.
        TypeError: unknown option.
    """
    return _module(module).config(options)


def provisional_config(module: str, options: Mapping[str, Any]) -> PeftConfig | None:
    """Like :func:`peft_config`, but with the curvature "auto" as 1: for checks without a base."""
    known = {"curvature": 1.0} if options.get("curvature") == AUTO else {}
    return peft_config(module, {**options, **known})


def _module(name: str) -> Any:
    if not name.isidentifier() or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise ValueError(f"bench/methods/ has no module '{name}'")
    return importlib.import_module(f"{__name__}.{name}")


def is_ours(peft_type: str) -> bool:
    """Whether a saved adapter's `peft_type` is that of a method defined in this package."""
    config = PEFT_TYPE_TO_CONFIG_MAPPING.get(peft_type)
    return config is not None and config.__module__.startswith(f"{__name__}.")


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Suppress the warning about a transformers attribute that peft uses and that is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        yield


def attach(
    base: Any,
    module: str,
    options: Mapping[str, Any],
    prompts: Sequence[Sequence[int]] = (),
) -> Any:
    """Attach a method's adapter to a base model.

    Args:
        base: a transformers model; its weights are frozen.
        module: the method's module in this package.
        options: its options.
        prompts: token ids of sample prompts, for options that are measured on the base.

    Returns:
        A peft model, or the base itself if the method has no adapter.

    Raises:
        ValueError: as for `peft_config`; or no layer matches a target or a name in a pattern; or
            a rank is too large.
    """
    if provisional_config(module, options) is None:
        return base.requires_grad_(False)
    options = given = in_names_of(base, options)
    with quiet_peft():
        calibrated = getattr(_module(module), "calibrated", None)
        if calibrated is not None:
            options = calibrated(base, options, prompts)
        config = peft_config(module, options)
        assert config is not None
        _check_base(base, config)
        model = get_peft_model(base, config)
    check_patterns(model, given)
    for name, layer in model.named_modules():
        ranks = getattr(layer, "r", None)
        rank = max(ranks.values(), default=0) if isinstance(ranks, dict) else 0
        if rank and rank > (limit := min(layer.in_features, layer.out_features)):
            raise ValueError(f"r={rank} is too large for the layer {name}: at most {limit}")
    return model


def _check_base(base: Any, config: PeftConfig) -> None:
    latent = any(name.endswith(".kv_b_proj") for name, _ in base.named_modules())
    if latent and config.peft_type == PeftType.PREFIX_TUNING:
        raise ValueError(
            "prefix-tuning prepends keys and values, but this base caches a latent instead: use a "
            "low-rank method or a bottleneck adapter, such as method=lora or method=series"
        )
    on_cpu = next(base.parameters()).device.type == "cpu"
    if getattr(config, "use_dora", False) and on_cpu and getattr(base, "is_loaded_in_8bit", False):
        # DoRA needs each weight's norm, and on a CPU peft loses the scales of an int8 weight.
        raise ValueError("DoRA on an int8 base needs a GPU: use model.quantization=null on a CPU")


def count_parameters(model: Any) -> dict[str, int]:
    """The number of `trainable` and of all (`total`) parameters, including the adapter's."""
    sizes = [(_weights(p), p.requires_grad) for p in model.parameters()]
    return {
        "trainable": sum(size for size, trainable in sizes if trainable),
        "total": sum(size for size, _ in sizes),
    }


def _weights(parameter: Any) -> int:
    """The number of weights in a parameter; bitsandbytes stores two of 4 bits in a byte."""
    packed = 2 * parameter.element_size() if type(parameter).__name__ == "Params4bit" else 1
    return parameter.numel() * packed
