"""The language model of a checkpoint: its class, and the names of its weights."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import AutoModelForCausalLM

# Multimodal checkpoints of which only the language model is loaded: the vision tower would take
# memory, and its q_proj, k_proj and v_proj would be adapted as well.
WITH_PICTURES = ("gemma3",)

# Weights of the language model: their names in such a checkpoint, and in the model.
TEXT_WEIGHTS = {
    r"^language_model\.model\.": "model.",
    r"^model\.language_model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
}


def load_weights(config: Any, path: str, **options: Any) -> tuple[Any, list[str]]:
    """The causal language model of a checkpoint, and the names of the weights that it lacks.

    `path` is a folder or a hub id, and `options` are those of `from_pretrained`.
    """
    verbosity = transformers.utils.logging.get_verbosity()
    if config.model_type in WITH_PICTURES:
        config = text_config(config)
        options["key_mapping"] = TEXT_WEIGHTS
        # Otherwise every skipped weight of the vision tower is listed.
        transformers.utils.logging.set_verbosity_error()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, config=config, output_loading_info=True, **options
        )
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    model, loading = loaded
    return model, sorted(loading["missing_keys"])


def text_config(config: Any) -> Any:
    """The configuration of the language model of a checkpoint."""
    return config.get_text_config() if config.model_type in WITH_PICTURES else config
