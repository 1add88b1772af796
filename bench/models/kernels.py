"""Liger's Triton kernels in a base model: RMSNorm, rotary embeddings and the gated MLP."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import torch

from bench.errors import InputError, unknown

# The architectures of Liger whose replaced parts are all in the module of the model class.
ARCHITECTURES = frozenset(
    "gemma gemma2 gemma3_text llama mistral olmo2 phi3 qwen2 qwen3 smollm3".split()
)
ROPE = "apply_rotary_pos_emb"


def why_not(device: torch.device) -> str:
    """Why Liger's kernels can't be used on a device, in words; empty if they can."""
    if importlib.util.find_spec("liger_kernel") is None:
        return "liger-kernel is not installed"
    return "" if device.type == "cuda" else "its kernels need a CUDA GPU"


def check_kernels(kind: str | None, architecture: str, device: torch.device) -> None:
    """Raise InputError if kernels can't be used on a device, or with a `model_type`."""
    if kind is None:
        return
    if architecture not in ARCHITECTURES:
        reason = unknown("architecture", architecture, ARCHITECTURES)
        raise InputError(
            f"model.kernels={kind}: {reason} For other architectures, give model.kernels=null"
        )
    if reason := why_not(device):
        raise InputError(
            f"model.kernels={kind}: {reason}. The kernels need such a GPU and the extra [liger], "
            ".venv/bin/pip install -c constraints.txt -e '.[liger]'; without them give "
            "model.kernels=null"
        )


def use_liger(base: Any) -> None:
    """Let a loaded transformers model compute with Liger's kernels; other models stay as they are.

    Liger's fused linear cross-entropy is left out: it reads the output layer's weight without an
    adapter of that layer, and returns no loss of each token, as the likelihood of answers needs.
    `bench.training.loss` saves most of its memory: logits are computed from the first target on.

    Args:
        base: of one of `ARCHITECTURES`, without an adapter; changed in place. Copies of it have the
            kernels, too.
    """
    from liger_kernel.transformers.monkey_patch import _apply_liger_kernel_to_instance

    modeling: Any = sys.modules[type(base).__module__]
    before = dict(vars(modeling))
    _apply_liger_kernel_to_instance(base, cross_entropy=False, fused_linear_cross_entropy=False)
    own, fused = before[ROPE], getattr(modeling, ROPE)
    vars(modeling).update(before)  # the kernels are methods of the modules now, except this one
    for module in base.modules():
        # Of each attention and not of the model, which does not call a layer that is recomputed.
        if type(module) in before.values() and type(module).__name__.endswith("Attention"):
            module.register_forward_pre_hook(lambda *_: setattr(modeling, ROPE, fused))
            module.register_forward_hook(lambda *_: setattr(modeling, ROPE, own), always_call=True)
