"""Loading a base model and its tokenizer: the embedded one, a local folder, or a hub id."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from bench.errors import InputError
from bench.models.architecture import load_weights
from bench.models.footprint import check_memory
from bench.models.hub import obtainable, unobtainable
from bench.models.quantization import check_quantization, loading_options
from bench.models.settings import ModelSettings
from bench.progress import has_terminal


def pick_device() -> torch.device:
    """The first GPU, or the processor where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_devices(key: str, count: int, device: torch.device) -> None:
    """Refuse to train on more GPUs than there are; a processor takes any number of processes.

    Args:
        key: what the person set, such as `train.devices`.
        count: to that.
        device: of the type that is trained on.

    Raises:
        InputError: there are fewer.
    """
    there = torch.cuda.device_count() if device.type == "cuda" else count
    if count > there:
        raise InputError(f"{key}={count}, but there are {there} GPUs here: lower it")


def load_base(settings: ModelSettings, device: torch.device) -> tuple[Any, Any]:
    """The base model in eval mode on the device, and its tokenizer.

    The model has an attribute `commit`: what was loaded of a hub model, None for a folder.

    Args:
        settings: which base.
        device: where its weights go.

    Raises:
        InputError: the base can't be had or isn't a causal language model.
    """
    import bench.models.helm  # noqa: F401  transformers' Auto classes know it from here on

    where = str(settings.folder or settings.path)
    if settings.path == "embedded" or not has_terminal():
        transformers.utils.logging.disable_progress_bar()
    check_quantization(settings.quantization, device)
    # Of what is here already no hub is asked: without a network each question takes half a minute.
    commit, here = (None, True) if settings.folder else obtainable(settings)
    dtype = weight_dtype(settings.dtype, device)
    options = {
        "revision": commit or settings.revision,
        "trust_remote_code": settings.trust_remote_code,
        "local_files_only": here,
    }
    # Straight to a GPU: the processor's memory need not hold them, too.
    placed = loading_options(settings, dtype)
    if placed or device.type == "cuda":
        placed["device_map"] = {"": device}
    try:
        config = AutoConfig.from_pretrained(where, **options)
        if settings.check_memory:
            check_memory(settings, config, dtype, device)
        tokenizer = AutoTokenizer.from_pretrained(where, padding_side="left", **options)
        model, missing = load_weights(
            config, where, dtype=dtype, use_safetensors=True, **placed, **options
        )
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # what is wrong in a folder makes transformers raise anything
        # Not `from error` for the hub: addresses of requests have no place in a record.
        raise unobtainable(settings, error) from (error if settings.folder else None)
    if missing:
        # transformers would go on with random numbers in their place.
        raise InputError(
            f"the base model '{where}' lacks {len(missing)} weights of its architecture, such as "
            f"{missing[0]}: it is damaged, or no causal language model"
        )
    if (damaged := first_not_finite(model)) is not None:
        raise InputError(
            f"the base model '{where}' has weights that are no numbers (NaN or infinite), such as "
            f"{damaged}: it is damaged"
        )
    if tokenizer.pad_token_id is None:
        # Padding is masked and never scored; any token serves, and no row has to be added.
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer of '{where}' has no end-of-sequence token")
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise InputError(
            f"'{where}': the tokenizer has {len(tokenizer)} entries, the model's embedding only "
            f"{model.get_input_embeddings().num_embeddings}; they do not belong together"
        )
    # A protocol says how text is generated; what a base brings along (sampling, penalties, stop
    # lists) would otherwise be mixed into it.
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.context_limit, model.commit = settings.context, commit
    if not placed:
        model.to(device)
    return model.eval(), tokenizer


def first_not_finite(model: Any) -> str | None:
    """The name of the first parameter that holds a NaN or an infinity."""
    for name, parameter in model.named_parameters():
        # The extremes tell, and take no memory of the weight's size.
        if parameter.is_floating_point() and parameter.numel():
            low, high = parameter.detach().aminmax()
            if not (low.isfinite() and high.isfinite()):
                return name
    return None


def weight_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype that `model.dtype` means on a device."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32


def context_length(model: Any) -> int:
    """The most tokens that the model takes, prompt and answer together; `model.context` at most."""
    config = model.config.get_text_config()
    own = int(getattr(config, "max_position_embeddings", None) or 2048)
    return min(own, getattr(model, "context_limit", None) or own)
