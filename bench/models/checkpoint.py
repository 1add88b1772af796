"""Checks of a checkpoint's weights that read only the headers of its files."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bench.errors import InputError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def check_weights(folder: Path, config: dict[str, object]) -> None:
    """Refuse weights that are damaged or can't be those of a language model.

    `config` is the config.json of the folder.

    Raises:
        InputError: a file is missing or not a complete safetensors file, or has integer weights
            although the configuration has no quantization.
    """
    files = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else _shards(folder)
    for path in files:
        try:
            with safe_open(path, "numpy") as weights:
                dtypes = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{path} can't be loaded: it is damaged, or not a safetensors file: {error}"
            ) from error
        # Buffers may be integers, too.
        integers = [n for n, dtype in dtypes.items() if n.endswith(".weight") and dtype[0] in "IU"]
        if integers and "quantization_config" not in config:
            raise InputError(
                f"{path} has integer weights ({dtypes[integers[0]]}), such as "
                f"{integers[0]}, but its config.json has no quantization_config"
            )


def _shards(folder: Path) -> list[Path]:
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} can't be read: {type(error).__name__}: {error}") from error
    paths = [folder / str(name) for name in sorted(map(str, names))]
    for path in paths:
        # Files outside the folder would not be part of its hash.
        if path.parent != folder:
            raise InputError(f"{index} names {path}, which is outside its folder")
        if not path.is_file():
            raise InputError(f"{index} names {path.name}, which is missing: copy it as well")
    return paths
