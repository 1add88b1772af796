"""Saving and loading of trained adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open

from bench.errors import InputError
from bench.methods import AUTO, provisional_config, quiet_peft
from bench.models.loading import first_not_finite


def check_options(module: str, options: Mapping[str, Any]) -> PeftConfig | None:
    """The peft configuration of a method; InputError if an option is unknown or out of range."""
    try:
        return provisional_config(module, options)
    except (TypeError, ValueError) as error:
        raise InputError(f"method: {error}") from error


def saved_options(folder: Path, module: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method with the values that an adapter in a folder was saved with.

    Raises:
        InputError: the folder holds no adapter, or one of another method.
    """
    given, path = f"adapter={folder}", folder / "adapter_config.json"
    for name in (path.name, "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(
                f"{given}: no {name} there; give the folder of a saved adapter, like "
                "results/runs/<id>/adapter"
            )
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{given}: {path.name} can't be read: {error}") from error
    if not isinstance(saved, dict):
        raise InputError(f"{given}: {path.name} must hold an object")
    config = check_options(module, options)
    expected = {k: getattr(config, k) for k in ("variant", "use_dora") if hasattr(config, k)}
    kind = getattr(config, "peft_type", "no adapter")
    expected["peft_type"] = str(getattr(kind, "value", kind))
    for key, value in expected.items():
        if saved.get(key) != value:
            raise InputError(
                f"{given}: its {key} is {saved.get(key)}, that of the method named is {value}; "
                "name the method that it was trained with, method=NAME"
            )
    found = {key: saved.get(key, value) for key, value in options.items()}
    # A pattern that no option gave was measured.
    measured = saved.get("curvature_pattern") and "curvature_pattern" not in options
    return found | ({"curvature": AUTO} if measured and "curvature" in options else {})


def save_adapter(model: Any, folder: Path) -> None:
    """Save a peft model's adapter; the folder appears only when it is complete."""
    with replaced(folder) as partial:
        # Embeddings are never resized here, and checking them would ask the hub for the base.
        model.save_pretrained(partial, save_embedding_layers=False)


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A folder that takes the place of `folder` if the block ends without an error."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def load_adapter(base: Any, folder: Path) -> Any:
    """The base model with a saved adapter, in eval mode; InputError if it does not fit."""
    try:
        with quiet_peft():
            model = PeftModel.from_pretrained(base, str(folder)).eval()
        with safe_open(folder / "adapter_model.safetensors", "pt") as weights:
            saved = set(weights.keys())
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # peft raises anything for a damaged folder
        raise InputError(f"the adapter {folder} can't be put on this base: {error}") from error
    # peft ignores missing and unexpected tensors.
    loaded = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if saved != loaded:
        raise InputError(
            f"the adapter {folder} does not fit this base: the base has no layer for "
            f"{len(saved - loaded)} of its tensors, and {len(loaded - saved)} are missing"
        )
    if (damaged := first_not_finite(model)) is not None:
        raise InputError(f"the adapter {folder} has weights that are no numbers, such as {damaged}")
    return model
