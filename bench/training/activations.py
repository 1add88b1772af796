"""Less memory for more time: activations that the way back needs are computed a second time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftConfig

from bench.errors import InputError


def check_checkpointing(config: PeftConfig | None) -> None:
    """Refuse gradient checkpointing where it would change what is trained.

    Args:
        config: of the method; None for the base as it is.

    Raises:
        InputError: the method works by keys and values before the text. Transformers takes those
            away where a layer is computed twice, with a mere warning, and trains nothing.
    """
    if config is not None and config.is_prompt_learning:
        kind = str(config.peft_type).removeprefix("PeftType.").lower()
        raise InputError(
            f"train.gradient_checkpointing=true does not go with {kind}, whose virtual tokens it "
            "would take away: leave it out, or lower train.micro_batch_size where memory is short"
        )


@contextmanager
def checkpointing(model: Any, wanted: bool) -> Iterator[None]:
    """Let a model in training mode keep its layers' inputs alone, if that is wanted.

    In eval mode nothing changes, nor when the block has ended.

    Args:
        model: a transformers model, with an adapter or without.
        wanted: else nothing is done.

    Raises:
        InputError: the method or the architecture does not go with it.
    """
    if not wanted:
        yield
        return
    adapted = hasattr(model, "peft_config")
    check_checkpointing(model.peft_config[model.active_adapter] if adapted else None)
    base = model.get_base_model() if adapted else model
    try:
        # The other kind needs inputs that require a gradient, and the base's do not.
        base.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise InputError(f"train.gradient_checkpointing=true: {error}") from error
    try:
        yield
    finally:
        base.activation_checkpointing_disable()
