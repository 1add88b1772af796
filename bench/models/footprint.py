"""Memory that a base needs and that is free, estimated before anything large is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from bench.errors import InputError
from bench.models.architecture import text_config
from bench.models.quantization import BYTES
from bench.models.settings import ModelSettings

# Training: an adapter with a hundredth of the base's parameters, in float32 with its gradient and
# Adam's two moments; and the activations of one row: 34 bytes per token, layer and dimension
# (Korthikanti et al. 2022), and three copies of the float32 logits.
ADAPTER_BYTES = 0.01 * 16
TOKENS = 512
LAYER_BYTES = 34
LOGIT_BYTES = 12

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def check_memory(
    settings: ModelSettings, config: Any, dtype: torch.dtype, device: torch.device
) -> None:
    """Refuse a base that does not fit into the free memory, before it is downloaded.

    Raises:
        InputError: it does not fit; the message has the figures and the options.
    """
    needed = footprint(config, dtype, settings.trust_remote_code, settings.quantization)
    free = free_memory(device)
    if needed is None or sum(needed) <= free:
        return
    memory = f"the GPU {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "memory"
    stored = settings.quantization or str(dtype).removeprefix("torch.")
    weights, training = map(gigabytes, needed)
    raise InputError(
        f"the base '{settings.path}' needs about {weights} for its weights in "
        f"{stored} and {training} for an adapter and a row of {TOKENS} tokens, "
        f"but only {gigabytes(free)} of {memory} are free. Use model.dtype=bfloat16 instead of "
        "float32, model.quantization=int8 (nf4 on a GPU) or a smaller base, or free some memory; "
        "model.check_memory=false skips this check"
    )


def footprint(
    config: Any, dtype: torch.dtype, trust_remote_code: bool, quantization: str | None = None
) -> tuple[int, int] | None:
    """Estimate the bytes of a base, and the least that training an adapter needs in addition.

    `dtype` is that of weights that are not quantised. Returns None for an architecture that can't
    be built without its weights.
    """
    config = text_config(config)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception:  # remote code may raise anything; loading will report it
        return None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    layers = max(len(m) for m in model.modules() if isinstance(m, nn.ModuleList))
    text = config.get_text_config()  # of a base that also has, for example, a vision tower
    row = TOKENS * (LAYER_BYTES * layers * text.hidden_size + LOGIT_BYTES * text.vocab_size)
    weights = parameters * dtype.itemsize
    if quantization:
        # All linear layers but the output are quantised.
        linear = {m for m in model.modules() if isinstance(m, nn.Linear)}
        quantised = linear - {model.get_output_embeddings()}
        saved = dtype.itemsize - BYTES[quantization]
        weights -= int(sum(layer.weight.numel() for layer in quantised) * saved)
    return weights, int(ADAPTER_BYTES * parameters) + row


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still allocate on a device."""
    if device.type == "cuda":
        # Memory that torch has reserved but does not use is free, too.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    return min(psutil.virtual_memory().available, *cgroup_room(OWN_CGROUP, CGROUPS))


def cgroup_room(own: Path, root: Path) -> list[float]:
    """Bytes that containers and schedulers leave this process, for each of its cgroups.

    `own` is /proc/self/cgroup, which names the group; `root` is where the groups' files are.
    """
    lines = own.read_text().splitlines() if own.is_file() else []
    folders = [root / line[3:].lstrip("/") for line in lines if line.startswith("0::")]
    groups = [group for folder in folders for group in (folder, *folder.parents)]
    return [_room(group) for group in groups if group.is_relative_to(root)] or [float("inf")]


def _room(group: Path) -> float:
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such file, or "max": no limit
        return float("inf")
    return limit - used + int(counts.get("inactive_file", 0))  # file cache can be dropped


def gigabytes(size: float) -> str:
    """Format a number of bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
