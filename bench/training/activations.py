"""Gradient checkpointing: recompute activations in the backward pass to save memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftConfig

from bench.errors import InputError


def check_checkpointing(config: PeftConfig | None) -> None:
    """Refuse gradient checkpointing for prompt learning with an InputError.

    Transformers drops the virtual tokens' keys and values from a checkpointed layer, with only a
    warning, so nothing would be trained.
    """
    if config is not None and config.is_prompt_learning:
        kind = str(config.peft_type).removeprefix("PeftType.").lower()
        raise InputError(
            f"train.gradient_checkpointing=true can't be combined with {kind}, whose virtual "
            "tokens it would drop: leave it out, or lower train.micro_batch_size to save memory"
        )


@contextmanager
def checkpointing(model: Any, enabled: bool) -> Iterator[None]:
    """Enable gradient checkpointing of a transformers model, with or without an adapter.

    Raises:
        InputError: the method or the architecture does not support it.
    """
    if not enabled:
        yield
        return
    adapted = hasattr(model, "peft_config")
    check_checkpointing(model.peft_config[model.active_adapter] if adapted else None)
    base = model.get_base_model() if adapted else model
    try:
        # The reentrant kind needs inputs that require a gradient; a frozen base's do not.
        base.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise InputError(f"train.gradient_checkpointing=true: {error}") from error
    try:
        yield
    finally:
        base.activation_checkpointing_disable()
