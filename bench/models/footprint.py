"""How much memory a base takes, and how much there is: known before anything large is loaded."""

from __future__ import annotations

from dataclasses import dataclass
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

# Beside the weights: an adapter of a hundredth of them, in float32 with its gradient and Adam's two
# moments, and what a training step of one row keeps for its way back: some 34 numbers of 16 bits a
# position, layer and dimension (Korthikanti et al. 2022), and the logits in float32 three times.
ADAPTER_BYTES = 0.01 * 16
TOKENS = 512
LAYER_BYTES = 34
LOGIT_BYTES = 12

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Footprint:
    """Bytes: of the weights, and of the least that training an adapter takes beside them."""

    weights: int
    beside: int


def check_memory(
    settings: ModelSettings, config: Any, dtype: torch.dtype, device: torch.device
) -> None:
    """Refuse a base that does not fit in the memory that is free, before it is downloaded.

    Raises:
        InputError: it does not; the message has the figures, and what can be done.
    """
    needed = footprint(config, dtype, settings.trust_remote_code, settings.quantization)
    if needed is None:
        return
    free = free_memory(device)
    if needed.weights + needed.beside > free:
        of = f"the GPU {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "memory"
        held = settings.quantization or str(dtype).removeprefix("torch.")
        raise InputError(
            f"the base '{settings.path}' needs about {gigabytes(needed.weights)} for its weights "
            f"in {held} and {gigabytes(needed.beside)} for an adapter "
            f"and a row of {TOKENS} tokens, and {gigabytes(free)} of {of} are free. Take "
            "model.dtype=bfloat16 where it is float32, model.quantization=int8 (nf4 on a GPU), or "
            "a smaller base; end what else uses the memory; model.check_memory=false tries all the "
            "same"
        )


def footprint(
    config: Any, dtype: torch.dtype, trust_remote_code: bool, quantization: str | None = None
) -> Footprint | None:
    """What a base takes, from its configuration alone.

    Args:
        config: of the checkpoint.
        dtype: of the weights; with a quantization of those that it leaves alone.
        trust_remote_code: build it by code that comes with it.
        quantization: as in ModelSettings.

    Returns:
        None for an architecture whose shape can't be told without its weights.
    """
    config = text_config(config)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception:  # code that comes with a model may do anything; its loading will tell
        return None
    sizes = {id(p): p.numel() for p in model.parameters()}
    parameters = sum(sizes.values())
    layers = max(len(m) for m in model.modules() if isinstance(m, nn.ModuleList))
    width, entries = config.hidden_size, config.vocab_size
    row = TOKENS * (LAYER_BYTES * layers * width + LOGIT_BYTES * entries)
    weights = parameters * dtype.itemsize
    if quantization:
        weights -= int(_quantised(model) * (dtype.itemsize - BYTES[quantization]))
    return Footprint(weights, int(ADAPTER_BYTES * parameters) + row)


def _quantised(model: Any) -> int:
    """The number of weights that a quantization takes: all linear layers but the output's."""
    linear = {m for m in model.modules() if isinstance(m, nn.Linear)}
    return sum(layer.weight.numel() for layer in linear - {model.get_output_embeddings()})


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take on a device."""
    if device.type == "cuda":
        # What torch holds and has no use for is as good as free.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    return min(psutil.virtual_memory().available, *cgroup_room(OWN_CGROUP, CGROUPS))


def cgroup_room(own: Path, root: Path) -> list[float]:
    """What containers and schedulers leave this process, of each group that it is in.

    Args:
        own: /proc/self/cgroup, which names the group.
        root: where the groups' files are.
    """
    try:
        names = [line[3:] for line in own.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        names = []
    rooms = [float("inf")]
    for name in names:
        folder = root / name.lstrip("/")
        for group in (folder, *folder.parents):
            rooms.append(_room(group))
            if group == root:
                break
    return rooms


def _room(group: Path) -> float:
    """A group's limit less what it uses; files it has read can be dropped and count as free."""
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such file, or "max": no limit
        return float("inf")
    return limit - used + int(counts.get("inactive_file", 0))


def gigabytes(size: float) -> str:
    """A number of bytes as a person reads it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
