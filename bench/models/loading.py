"""Loading a base model and its tokenizer: the embedded one, a local folder, or a hub id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from bench.errors import InputError
from bench.models.architecture import load_weights
from bench.models.footprint import check_memory
from bench.models.hub import loading_error, resolve_commit
from bench.models.kernels import check_kernels, use_liger
from bench.models.quantization import check_quantization, loading_options
from bench.models.settings import ModelSettings
from bench.models.tokenizer import check_tokenizer
from bench.progress import has_terminal

ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


def pick_device() -> torch.device:
    """The first GPU, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_devices(key: str, count: int, device: torch.device) -> None:
    """Raise InputError if `key=count` asks for more GPUs than there are; a CPU takes any count."""
    available = torch.cuda.device_count()
    if device.type == "cuda" and count > available:
        raise InputError(f"{key}={count}, but there are {available} GPUs here: lower it")


def load_base(
    settings: ModelSettings, device: torch.device, spread: bool = False
) -> tuple[Any, Any]:
    """Load a base model in eval mode on a device or spread over all GPUs, and its tokenizer.

    Its attribute `commit` is the commit of a hub model that was loaded, None for a folder.

    Raises:
        InputError: the base can't be loaded or isn't a causal language model.
    """
    import bench.models.helm  # noqa: F401  registers HELM with transformers' Auto classes

    path = str(settings.folder or settings.path)
    if settings.path == "embedded" or not has_terminal():
        transformers.utils.logging.disable_progress_bar()
    check_quantization(settings.quantization, device)
    # Cached files are not looked up on the hub: without a network each request takes 30 seconds.
    commit, cached = (None, True) if settings.folder else resolve_commit(settings)
    dtype = weight_dtype(settings.dtype, device)
    options = {
        "revision": commit or settings.revision,
        "trust_remote_code": settings.trust_remote_code,
        "local_files_only": cached,
    }
    placement = loading_options(settings, dtype)
    if placement or device.type == "cuda":
        # Without a copy in the host's memory.
        placement["device_map"] = "auto" if spread else {"": device}
    try:
        config = AutoConfig.from_pretrained(path, **options)
        _check_config(path, config)
        check_kernels(settings.kernels, config.get_text_config().model_type, pick_device())
        if settings.check_memory and not spread:
            check_memory(settings, config, dtype, device)
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left", **options)
        model, missing = load_weights(
            config, path, dtype=dtype, use_safetensors=True, **placement, **options
        )
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # transformers raises anything for a broken folder
        # Not `from error` for the hub: addresses of requests must not get into a record.
        raise loading_error(settings, error) from (error if settings.folder else None)
    _check_model(path, model, missing, tokenizer)
    if settings.kernels:
        use_liger(model)
    # The protocol decides on generation, not the sampling and penalties of a base. Only its stop
    # tokens are kept: that of the tokenizer often ends a text, and another one a turn.
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=_stop_tokens(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    model.context_limit, model.commit = settings.context, commit
    if not placement:
        model.to(device)
    return model.eval(), tokenizer


def _check_config(path: str, config: Any) -> None:
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and not positions > 0:
        raise InputError(f"the config.json of '{path}' has max_position_embeddings={positions}")
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        # Any other name is a repository of the hub whose code would be run.
        if part is not None and part._attn_implementation not in (None, *ATTENTION):
            part._attn_implementation = None


def _stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokenizer's end of sequence, and what the base's own configuration stops at."""
    own = model.generation_config.eos_token_id if model.generation_config else None
    stops = own if isinstance(own, list) else [own]
    entries = model.get_input_embeddings().num_embeddings
    valid = [stop for stop in stops if isinstance(stop, int) and 0 <= stop < entries]
    return list(dict.fromkeys([tokenizer.eos_token_id, *valid]))


def _check_model(path: str, model: Any, missing: list[str], tokenizer: Any) -> None:
    if missing:
        # transformers would only warn and use random numbers.
        raise InputError(
            f"the base model '{path}' lacks {len(missing)} weights of its architecture, such as "
            f"{missing[0]}: it is damaged, or not a causal language model"
        )
    if (damaged := first_not_finite(model.named_parameters())) is not None:
        raise InputError(
            f"the base model '{path}' has weights that are NaN or infinite, such as {damaged}: it "
            "is damaged"
        )
    entries = model.get_input_embeddings().num_embeddings
    check_tokenizer(tokenizer, f"the tokenizer of '{path}'", entries)


def first_not_finite(parameters: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """The name of the first of named parameters that contains NaN or infinity."""
    for name, parameter in parameters:
        # Minimum and maximum are enough, and need no memory of the weight's size.
        if parameter.is_floating_point() and parameter.numel():
            low, high = parameter.detach().aminmax()
            if not (low.isfinite() and high.isfinite()):
                return name
    return None


def weight_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype that `model.dtype` means on a device.

    `auto` is bfloat16 on GPUs that compute in it (those before Ampere emulate it), else float32.
    """
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def on_cpu(settings: ModelSettings) -> ModelSettings:
    """The settings under which a base has the same dtype on the CPU as on `pick_device()`."""
    dtype = str(weight_dtype(settings.dtype, pick_device())).removeprefix("torch.")
    return replace(settings, dtype=dtype)


def context_length(model: Any) -> int:
    """The maximum number of tokens, prompt and answer together; limited by `model.context`.

    The virtual tokens of prefix tuning take up a part.
    """
    config = model.config.get_text_config()
    own = int(getattr(config, "max_position_embeddings", None) or 2048)
    adapters = getattr(model, "peft_config", {}).values()
    virtual = max((getattr(a, "num_virtual_tokens", None) or 0 for a in adapters), default=0)
    return min(own, getattr(model, "context_limit", None) or own) - virtual
