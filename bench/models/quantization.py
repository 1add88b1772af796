"""Base models whose linear layers are stored in 8 or 4 bits by bitsandbytes.

`int8` is LLM.int8() (Dettmers et al. 2022), `nf4` is QLoRA's 4-bit NormalFloat with double
quantization (Dettmers et al. 2023). The output layer and the embeddings are not quantised.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch
from torch import nn

from bench.errors import InputError, missing_extra
from bench.models.settings import ModelSettings

# Bytes per weight. nf4: 4 bits, an 8-bit constant per 64 weights, a 32-bit one per 256 constants.
# int8: 8 bits; its 32-bit constant per row is not counted.
BYTES = {"int8": 1.0, "nf4": 0.5 + (1 + 4 / 256) / 64}


def check_quantization(kind: str | None, device: torch.device) -> None:
    """Raise InputError if bitsandbytes is not installed, or the quantization needs a GPU."""
    if kind is None:
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise missing_extra(f"model.quantization={kind}", "quant")
    if kind == "nf4" and device.type != "cuda":
        # bitsandbytes 0.50.2: in eval mode the weights are repacked for some CPUs, after which
        # gradients through them are lost without an error.
        raise InputError(
            "model.quantization=nf4 needs a CUDA GPU: on a CPU bitsandbytes loses the gradients of "
            "a base that was evaluated. Use model.quantization=int8 or null"
        )


def loading_options(settings: ModelSettings, dtype: torch.dtype) -> dict[str, Any]:
    """The options of `from_pretrained` for a quantization that computes in `dtype`."""
    if settings.quantization is None:
        return {}
    from transformers import BitsAndBytesConfig

    # Otherwise each int8 layer logs in each step that its products are computed in float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    kind = {"load_in_4bit": True, "bnb_4bit_compute_dtype": dtype, **nf4}
    given = {"load_in_8bit": True} if settings.quantization == "int8" else kind
    return {"quantization_config": BitsAndBytesConfig(**given)}


def is_quantised(parameter: nn.Parameter) -> bool:
    """Whether a parameter is one of bitsandbytes, which has attributes in addition to its data."""
    return type(parameter).__module__.startswith("bitsandbytes")


def with_shared_data(parameter: nn.Parameter) -> nn.Parameter:
    """A new quantised parameter over the data and constants of another.

    It must be a new object: an int8 layer removes the constants from its weight at its first use.
    """
    new = torch.Tensor._make_subclass(type(parameter), parameter.data, False)
    vars(new).update(vars(parameter))
    return new
