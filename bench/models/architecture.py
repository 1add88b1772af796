"""Which class of transformers a checkpoint is loaded with, and under which names of its weights."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import AutoModelForCausalLM

# Checkpoints of text and pictures whose text part is a language model of its own. Loaded whole, the
# tower for pictures would take memory, and its q_proj, k_proj and v_proj would be adapted as well.
WITH_PICTURES = ("gemma3",)

# The names of the text part's weights in such a checkpoint, and in the language model.
TEXT_WEIGHTS = {
    r"^language_model\.model\.": "model.",
    r"^model\.language_model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
}


def load_weights(config: Any, where: str, **options: Any) -> tuple[Any, list[str]]:
    """The causal language model of a checkpoint.

    Args:
        config: of the checkpoint.
        where: a folder or a hub id.
        **options: of `from_pretrained`.

    Returns:
        The model, and the names of the weights that the checkpoint lacks.
    """
    verbosity = transformers.utils.logging.get_verbosity()
    if config.model_type in WITH_PICTURES:
        config = text_config(config)
        options["key_mapping"] = TEXT_WEIGHTS
        # Else it lists every weight of the tower that is left out.
        transformers.utils.logging.set_verbosity_error()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where, config=config, output_loading_info=True, **options
        )
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    model, loading = loaded
    return model, sorted(loading["missing_keys"])


def text_config(config: Any) -> Any:
    """The configuration of the language model that is made of a checkpoint."""
    return config.get_text_config() if config.model_type in WITH_PICTURES else config
