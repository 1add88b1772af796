"""Series and parallel adapters saved by LLM-Adapters' fork of peft, in this project's format.

The source of the format is peft/src/peft/tuners/bottleneck.py of that repository.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from bench.errors import InputError
from bench.files import write_json

MARK = "use_parallel_adapter"  # a key that only that fork writes
SAME = ("peft_type", "task_type", "base_model_name_or_path", "target_modules")
SAME_OPTIONS = ("bottleneck_size", "non_linearity", "scaling", "init_weights")


def our_config(folder: Path, saved: Mapping[str, Any]) -> dict[str, Any]:
    """A saved configuration; one of that fork in this project's terms.

    Raises:
        InputError: it uses something that the adapters of this project do not support.
    """
    if MARK not in saved:
        return dict(saved)
    for key, allowed in (("scaling", (int, float)), ("bias", "none"), ("modules_to_save", None)):
        value = saved.get(key, allowed)
        if not (isinstance(value, allowed) if isinstance(allowed, tuple) else value == allowed):
            needed = "a number" if isinstance(allowed, tuple) else allowed
            raise InputError(
                f"adapter={folder}: it is an adapter of LLM-Adapters with {key}={value!r}, which "
                f"is not supported: only {key}={needed} can be loaded"
            )
    placement = "parallel" if saved[MARK] else "series"
    found = {key: saved[key] for key in (*SAME, *SAME_OPTIONS) if key in saved}
    return found | {"placement": placement, "dropout": saved.get("adapter_dropout", 0.0)}


@contextmanager
def our_folder(folder: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """A temporary folder with an adapter of that fork in this project's format.

    Args:
        folder: contains `adapter_model.bin` or `adapter_model.safetensors`.
        config: as returned by `our_config`.

    Raises:
        UnpicklingError: the file contains more than weights.
    """
    path = folder / "adapter_model.safetensors"
    if path.is_file():
        weights = load_file(path)
    else:
        weights = torch.load(path.with_suffix(".bin"), map_location="cpu", weights_only=True)
    ours = {
        name.replace(".adapter_", ".bottleneck_"): weight.contiguous()
        for name, weight in weights.items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        write_json(Path(scratch) / "adapter_config.json", config)
        save_file(ours, Path(scratch) / "adapter_model.safetensors", {"format": "pt"})
        yield Path(scratch)
