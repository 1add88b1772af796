"""The PEFT methods. Importing this package registers ours with peft.

    import bench.methods
    model = peft.get_peft_model(base, bench.methods.HypLoraConfig(r=16, curvature=0.5))

A method is a module here with `config(options)`, which returns a peft configuration (or None for
the base as it is), and a YAML in conf/method/ that names the module and its options. One whose
options depend on what the base does with text has `calibrated(base, options, prompts)`, too: it
returns options that `config` takes.
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
from bench.methods.hyplora.statistics import gate_statistics
from bench.methods.layers import has_latent_attention, in_names_of

__all__ = [
    "AUTO",
    "BottleneckConfig",
    "HypLoraConfig",
    "attach",
    "count_parameters",
    "gate_statistics",
    "is_ours",
    "peft_config",
    "quiet_peft",
    "unmeasured_config",
]


def peft_config(module: str, options: Mapping[str, Any]) -> PeftConfig | None:
    """A method's peft configuration; None for the base as it is.

    Args:
        module: the method's module in this package.
        options: of that method.

    Raises:
        ValueError: there is no such module, or an option is out of range; a curvature of "auto"
            is, since no layer can be made with it. :func:`attach` puts numbers in its place.
        TypeError: the method has no option of that name.
    """
    return _module(module).config(options)


def unmeasured_config(module: str, options: Mapping[str, Any]) -> PeftConfig | None:
    """What is known of a method's configuration before a base is there to measure.

    A curvature of "auto" counts as 1. For checks alone: what is attached is another configuration.

    Args and errors as for :func:`peft_config`.
    """
    known = {"curvature": 1.0} if options.get("curvature") == AUTO else {}
    return peft_config(module, {**options, **known})


def _module(name: str) -> Any:
    if not name.isidentifier() or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise ValueError(f"bench/methods/ has no module '{name}'")
    return importlib.import_module(f"{__name__}.{name}")


def is_ours(peft_type: str) -> bool:
    """Whether a saved adapter's `peft_type` is of a method that peft has from this package."""
    config = PEFT_TYPE_TO_CONFIG_MAPPING.get(peft_type)
    return config is not None and config.__module__.startswith(f"{__name__}.")


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without the warning that peft asks the base by a name which this transformers deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        yield


def attach(
    base: Any,
    module: str,
    options: Mapping[str, Any],
    prompts: Sequence[Sequence[int]] = (),
) -> Any:
    """Put a method's adapter into a base model.

    Args:
        base: a transformers model; its weights are frozen.
        module: the method's module in this package.
        options: of that method.
        prompts: token ids of a sample of text, for a method that measures the base first.

    Returns:
        A peft model, or the base itself where the method has no adapter.

    Raises:
        ValueError: as `peft_config`, or no layer matches its targets, or a rank does not fit one.
        TypeError: as `peft_config`.
    """
    if unmeasured_config(module, options) is None:
        return base.requires_grad_(False)
    options = in_names_of(base, options)
    with quiet_peft():
        calibrated = getattr(_module(module), "calibrated", None)
        if calibrated is not None:
            options = calibrated(base, options, prompts)
        config = peft_config(module, options)
        assert config is not None
        _check_base(base, config)
        model = get_peft_model(base, config)
    for name, layer in model.named_modules():
        ranks = getattr(layer, "r", None)
        rank = max(ranks.values(), default=0) if isinstance(ranks, dict) else 0
        if rank and rank > (limit := min(layer.in_features, layer.out_features)):
            raise ValueError(f"r={rank} is larger than the layer {name} allows: at most {limit}")
    return model


def _check_base(base: Any, config: PeftConfig) -> None:
    """Refuse what a base can't carry.

    Raises:
        ValueError: the message says what to take instead.
    """
    if config.peft_type == PeftType.PREFIX_TUNING and has_latent_attention(base):
        raise ValueError(
            "prefix-tuning puts keys and values before a text, and this base's attention keeps a "
            "latent in their place: take a low-rank method or a bottleneck adapter, such as "
            "method=lora or method=series"
        )
    on_cpu = next(base.parameters()).device.type == "cpu"
    if getattr(config, "use_dora", False) and on_cpu and getattr(base, "is_loaded_in_8bit", False):
        # It starts from each weight's norm, and on a processor peft's way of reading a weight of
        # int8 loses its constants.
        raise ValueError("DoRA on a base of int8 needs a GPU: take model.quantization=null here")


def count_parameters(model: Any) -> dict[str, int]:
    """The numbers of `trainable` and of all (`total`) parameters, the adapter's included."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return {
        "trainable": sum(size for size, trainable in sizes if trainable),
        "total": sum(size for size, _ in sizes),
    }
