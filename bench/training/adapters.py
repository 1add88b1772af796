"""Saving and loading of trained adapters, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel

import bench.methods  # noqa: F401  (registers our methods, so that peft can load them)
from bench.errors import InputError


def save_adapter(model: Any, folder: Path) -> None:
    """Save a peft model's adapter; the folder appears only when it is complete."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    # Embeddings are never resized here, and looking them up would ask the hub for the base.
    model.save_pretrained(partial, save_embedding_layers=False)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def load_adapter(base: Any, folder: Path) -> Any:
    """The base model with a saved adapter, in eval mode.

    Raises:
        InputError: the adapter can't be read or does not fit the base.
    """
    try:
        return PeftModel.from_pretrained(base, str(folder)).eval()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"the adapter {folder} can't be put on this base: {error}") from error
