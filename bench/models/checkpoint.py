"""What can be told of a checkpoint's weights from their headers, without reading them."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bench.errors import InputError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def check_weights(folder: Path, config: dict[str, object]) -> None:
    """Refuse weights that are damaged or can't be a language model's.

    Args:
        folder: of the checkpoint.
        config: its config.json.

    Raises:
        InputError: a file is not there, is no whole safetensors file, or holds whole numbers in
            place of weights.
    """
    files = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else _shards(folder)
    for path in files:
        try:
            with safe_open(path, "numpy") as weights:
                kinds = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{path} can't be loaded, it is damaged or no safetensors file: {error}"
            ) from error
        # Quantised checkpoints hold whole numbers and say so; buffers may be whole numbers, too.
        whole = [n for n, k in kinds.items() if n.endswith(".weight") and k[0] in "IU"]
        if whole and "quantization_config" not in config:
            raise InputError(
                f"{path} holds whole numbers ({kinds[whole[0]]}) in place of weights, such as "
                f"{whole[0]}, and its config.json has no quantization_config"
            )


def _shards(folder: Path) -> list[Path]:
    """The files that an index names; none where there is no index."""
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} can't be read: {type(error).__name__}: {error}") from error
    for name in sorted(map(str, names)):
        # What lies elsewhere is not hashed with the folder, and is not what was copied here.
        if Path(name).name != name:
            raise InputError(f"{index} names {name}, which is outside of its folder")
        if not (folder / name).is_file():
            raise InputError(f"{index} names {name}, which is not there: copy it, too")
    return [folder / str(name) for name in sorted(names)]
