"""A base whose linear layers are held in 8 or 4 bits, by bitsandbytes.

`int8` is LLM.int8() (Dettmers et al. 2022), `nf4` QLoRA's normal float with its constants quantised
again (Dettmers et al. 2023). The output layer and the embeddings stay as they are.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch
from torch import nn

from bench.errors import InputError
from bench.models.settings import ModelSettings

# Of a weight: 4 bits, and for each 64 of them a constant of 8 bits, and for each 256 of those one
# of 32; int8 has a constant of 32 bits for a whole row.
BYTES = {"int8": 1.0, "nf4": 0.5 + (1 + 4 / 256) / 64}


def check_quantization(kind: str | None, device: torch.device) -> None:
    """Refuse what can't be had here, before anything is loaded.

    Raises:
        InputError: bitsandbytes is not installed, or the kind needs a GPU that is not there.
    """
    if kind is None:
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"model.quantization={kind} needs the extra [quant]: "
            ".venv/bin/pip install -e '.[quant]'"
        )
    if kind == "nf4" and device.type != "cuda":
        # Tried with bitsandbytes 0.50.2: an evaluation packs the weights anew for some processors,
        # and from then on no gradient comes back through them, without an error.
        raise InputError(
            "model.quantization=nf4 needs a CUDA GPU: on a processor bitsandbytes loses the "
            "gradients of a base that was evaluated. Take model.quantization=int8 or null"
        )


def loading_options(settings: ModelSettings, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is given, for a dtype to compute in."""
    if settings.quantization is None:
        return {}
    from transformers import BitsAndBytesConfig

    # In every step and layer it would say that int8 products are made of float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if settings.quantization == "int8":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    }


def is_quantised(parameter: nn.Parameter) -> bool:
    """Whether a weight is one of bitsandbytes', which holds more than its numbers."""
    return type(parameter).__module__.startswith("bitsandbytes")


def over_the_same_numbers(parameter: nn.Parameter) -> nn.Parameter:
    """A quantised weight of its own over the numbers and the constants of another.

    Not the same object: at its first use a layer of int8 takes the constants out of its weight.
    """
    own = torch.Tensor._make_subclass(type(parameter), parameter.data, False)
    vars(own).update(vars(parameter))
    return own
