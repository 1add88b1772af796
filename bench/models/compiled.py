"""torch.compile of a model's decoder, in place, with one graph for batches of all lengths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from bench.errors import InputError

# Graphs of one function, such as those of prefill and decoding, with one row and with more; beyond
# PyTorch's own 8 it would run without compilation.
GRAPHS = 64


@cache
def compile_once(device: torch.device) -> None:
    """Compile and run a small function, once in a process: every run of a sweep is checked."""
    torch.compile(lambda x: x * x + 1)(torch.ones(8, device=device))


def why_not(device: torch.device) -> str:
    """Why torch.compile does not work on a device, in words; empty if it does."""
    try:
        compile_once(device)
    except Exception as error:  # the compiler's own, or of what it calls
        return f"torch.compile fails: {type(error).__name__}"
    return ""


def check_compiler(key: str, device: torch.device) -> None:
    """Raise InputError if torch.compile, asked for by `key=true`, does not work on a device."""
    if reason := why_not(device):
        needed = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler"
        raise InputError(
            f"{key}=true, but {reason}. torch.compile needs {needed} (apt-get install g++): "
            f"install it, or give {key}=false"
        )


@contextmanager
def compiled(model: Any, enabled: bool) -> Iterator[None]:
    """Run the decoder of a transformers model, with or without an adapter, compiled.

    The decoder is what training, scoring and generation have in common; the output layer is one
    product. No module is wrapped, so the names of weights stay. Numbers of rows and tokens are
    symbolic in the graphs, which are dropped at the end. peft's DoRA and layers of bitsandbytes are
    compiled in parts.
    """
    if not enabled:
        yield
        return
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder = base.get_decoder()
    decoder.compile(dynamic=True)
    # Symbolic floats, which nothing needs, fail in custom autograd functions such as HypLoRA's.
    options = {"specialize_float": True, "recompile_limit": GRAPHS}
    try:
        with torch._dynamo.config.patch(options):
            yield
    finally:
        decoder._compiled_call_impl = None  # nn.Module has no inverse of compile
        torch._dynamo.reset()  # graphs hold memory, and count against the limits of later models
