"""The PEFT methods. Importing this package registers ours with peft.

    import bench.methods
    model = peft.get_peft_model(base, bench.methods.HypLoraConfig(r=16, curvature=0.5))

A method is a module here with `config(options)`, which returns a peft configuration (or None for
the base as it is), and a YAML in conf/method/ that names the module and its options.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from peft import PeftConfig, get_peft_model

from bench.methods.bottleneck import BottleneckConfig
from bench.methods.hyplora import HypLoraConfig

__all__ = [
    "BottleneckConfig",
    "HypLoraConfig",
    "attach",
    "count_parameters",
    "peft_config",
    "quiet_peft",
]


def peft_config(module: str, options: Mapping[str, Any]) -> PeftConfig | None:
    """A method's peft configuration; None for the base as it is.

    Args:
        module: the method's module in this package.
        options: of that method.

    Raises:
        ValueError: there is no such module, or an option is out of range.
        TypeError: the method has no option of that name.
    """
    if importlib.util.find_spec(f"{__name__}.{module}") is None:
        raise ValueError(f"bench/methods/ has no module '{module}'")
    return importlib.import_module(f"{__name__}.{module}").config(options)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without the warning that peft asks the base by a name which this transformers deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        yield


def attach(base: Any, module: str, options: Mapping[str, Any]) -> Any:
    """Put a method's adapter into a base model.

    Args:
        base: a transformers model; its weights are frozen.
        module: the method's module in this package.
        options: of that method.

    Returns:
        A peft model, or the base itself where the method has no adapter.

    Raises:
        ValueError: as `peft_config`, or no layer matches its targets, or a rank does not fit one.
        TypeError: as `peft_config`.
    """
    config = peft_config(module, options)
    if config is None:
        return base.requires_grad_(False)
    with quiet_peft():
        model = get_peft_model(base, config)
    for name, layer in model.named_modules():
        ranks = getattr(layer, "r", None)
        rank = max(ranks.values(), default=0) if isinstance(ranks, dict) else 0
        if rank and rank > (limit := min(layer.in_features, layer.out_features)):
            raise ValueError(f"r={rank} is larger than the layer {name} allows: at most {limit}")
    return model


def count_parameters(model: Any) -> dict[str, int]:
    """The numbers of `trainable` and of all (`total`) parameters, the adapter's included."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return {
        "trainable": sum(size for size, trainable in sizes if trainable),
        "total": sum(size for size, _ in sizes),
    }
