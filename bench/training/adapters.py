"""Saving and loading of trained adapters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open

from bench.errors import InputError
from bench.files import read_cache, replaced
from bench.methods import AUTO, provisional_config, quiet_peft
from bench.models.loading import first_not_finite
from bench.models.settings import check_regular
from bench.training.adapter_checks import check_patterns, check_sizes
from bench.training.llm_adapters import MARK, our_config, our_folder

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # the second by peft before 0.7


def check_options(module: str, options: Mapping[str, Any]) -> PeftConfig | None:
    """The peft configuration of a method; InputError if an option is unknown or out of range."""
    try:
        return provisional_config(module, options)
    except (TypeError, ValueError) as error:
        raise InputError(f"method: {error}") from error


def saved_options(folder: Path, module: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method with the values that an adapter in a folder was saved with.

    Raises:
        InputError: the folder does not contain an adapter of this method.
    """
    saved = _read_config(folder)
    config = check_options(module, options)
    kind = str(getattr(config.peft_type, "value", config.peft_type)) if config else "no adapter"
    expected = {"peft_type": kind} | {
        key: getattr(config, key)
        for key in ("variant", "use_dora", "placement")
        if hasattr(config, key)
    }
    # An older peft did not write newer options: these have peft's defaults.
    names = [key for key in (*expected, *options) if hasattr(type(config), key)]
    saved = {key: getattr(type(config), key) for key in names} | saved
    for key, value in expected.items():
        if saved.get(key) != value:
            raise InputError(
                f"adapter={folder}: its {key} is {saved.get(key)}, but the given method has "
                f"{value}; give the method that it was trained with, method=NAME"
            )
    found = {key: saved.get(key, value) for key, value in options.items()}
    # A pattern that no option gave was measured.
    measured = saved.get("curvature_pattern") and "curvature_pattern" not in options
    return found | ({"curvature": AUTO} if measured and "curvature" in options else {})


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file() or not any((folder / name).is_file() for name in WEIGHTS):
        raise InputError(
            f"adapter={folder}: has no {CONFIG}, or no {' or '.join(WEIGHTS)}; give the folder "
            "of a saved adapter, such as results/runs/ID/adapter"
        )
    check_regular(folder)
    try:
        saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"adapter={folder}: {CONFIG} can't be read: {error}") from error
    if not isinstance(saved, dict):
        raise InputError(f"adapter={folder}: {CONFIG} must contain a JSON object")
    return our_config(folder, saved)


def save_adapter(model: Any, folder: Path) -> None:
    """Save a peft model's adapter; the folder appears only when it is complete."""
    with replaced(folder) as partial:
        # Embeddings are never resized here, and checking them would ask the hub for the base.
        model.save_pretrained(partial, save_embedding_layers=False)


def load_adapter(base: Any, folder: Path) -> Any:
    """The base model with a saved adapter, in eval mode.

    Raises:
        InputError: the adapter can't be read or does not fit the base.
    """
    config, names = _read_config(folder), [name for name, _ in base.named_modules()]
    check_sizes(folder, config, base.config.get_text_config().num_hidden_layers)
    check_patterns(folder, config, names)
    foreign = MARK in (read_cache(folder / CONFIG) or {})
    try:
        with (
            quiet_peft(),
            our_folder(folder, config) if foreign else nullcontext(folder) as readable,
        ):
            model = PeftModel.from_pretrained(base, str(readable)).eval()
            saved = _names_of_weights(readable)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except UnpicklingError as error:
        raise InputError(
            f"adapter={folder}: {WEIGHTS[1]} contains more than weights, and loading it could "
            f"run code: convert it to {WEIGHTS[0]} where it was trained"
        ) from error
    except Exception as error:  # peft raises anything for a damaged folder
        raise InputError(f"the adapter {folder} can't be loaded onto this base: {error}") from error
    # peft ignores missing and unexpected tensors.
    loaded = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if saved != loaded:
        raise InputError(
            f"the adapter {folder} does not fit this base: the base has no layer for "
            f"{len(saved - loaded)} of its tensors, and {len(loaded - saved)} are missing"
        )
    if (damaged := first_not_finite(model.named_parameters())) is not None:
        raise InputError(
            f"the adapter {folder} has weights that are NaN or infinite, such as {damaged}"
        )
    return model


def _names_of_weights(folder: Path) -> set[str]:
    if (path := folder / WEIGHTS[0]).is_file():
        with safe_open(path, "pt") as weights:
            return set(weights.keys())
    return set(torch.load(folder / WEIGHTS[1], map_location="meta", weights_only=True))
