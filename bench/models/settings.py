"""The settings of a base model, and the hash of its content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import InputError, unknown
from bench.fields import check_values
from bench.models import gguf
from bench.models.checkpoint import check_weights
from bench.models.hashes import files_hash
from bench.models.tiny_base import TINY_BASE

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("int8", "nf4")
KERNELS = ("liger",)
PROMPT_STYLES = ("alpaca", "llama3", "chatml", "gemma")


@dataclass(frozen=True)
class ModelSettings:
    """A base model.

    Attributes:
        name: its name in tables, by which the learning rates of a method are looked up.
        path: a local folder, a GGUF file or a hub id; `embedded` is the base shipped with the
            package.
        revision: a hub revision; pin it, since the default branch moves.
        dtype: dtype of the weights; `auto` is bfloat16 on a GPU that supports it, else float32.
        published: its name in published tables, if any.
        trust_remote_code: run code that comes with the model.
        context: maximum number of tokens, prompt and answer together; None: as in its config.
        prompt_style: one of PROMPT_STYLES, for protocols with several styles.
        quantization: `int8` or `nf4`, the storage of linear layers; None for `dtype`.
        check_memory: refuse a base that does not fit by an estimate.
        source: which of the preset's `sources` is used, for the record; None if it has none.
        kernels: `liger`, or None for those of PyTorch.
    """

    name: str
    path: str
    revision: str | None
    dtype: str
    published: str | None
    trust_remote_code: bool
    context: int | None = None
    prompt_style: str | None = None
    quantization: str | None = None
    check_memory: bool = True
    source: str | None = None
    kernels: str | None = None

    def __post_init__(self) -> None:
        choices = {"dtype": DTYPES, "quantization": QUANTIZATIONS, "kernels": KERNELS}
        choices["prompt_style"] = PROMPT_STYLES
        check_values("model", self, least={"context": 1}, choices=choices)

    @property
    def folder(self) -> Path | None:
        """The local folder, of a GGUF file that of its converted copy; None for a hub id."""
        if self.path == "embedded":
            return TINY_BASE
        if (file := self.file) is not None:
            return gguf.copy_of(file)
        folder = Path(self.path).expanduser()
        return folder if folder.is_dir() else None

    @property
    def file(self) -> Path | None:
        """The GGUF file; None if the base is not one, or if there is no such file."""
        path = Path(self.path).expanduser()
        return path if path.suffix == gguf.SUFFIX and path.is_file() else None


def in_source(section: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve where a base comes from: its keys, completed by those of one of its `sources`.

    Raises:
        InputError: the source is unknown.
    """
    keys = dict(section)
    sources = keys.pop("sources", None)
    if not sources:
        return keys
    if keys["source"] not in sources:
        raise unknown("model.source", str(keys["source"]), sources)
    return keys | {k: v for k, v in sources[keys["source"]].items() if keys[k] is None}


def check_folder(settings: ModelSettings) -> None:
    """Raise InputError if there is no base at a path, before anything heavy is imported.

    A GGUF file that was not converted yet is converted.
    """
    if (file := settings.file) is not None:
        gguf.convert(file)
    folder = settings.folder
    if folder is None:
        if Path(settings.path).expanduser().is_relative_to(gguf.cache_folder()):
            made_by = Path(settings.path).parent.name
            raise InputError(
                f"model={settings.name} is not downloaded yet: `make {made_by}` does it once, or "
                "give model.source=hub for the original weights from the hub"
            )
        if settings.path.startswith((".", "/", "~")) or settings.path.count("/") != 1:
            raise InputError(f"model.path={settings.path}: no such folder or GGUF file")
        return
    check_regular(folder)
    if not (folder / "config.json").is_file():
        raise InputError(f"model.path={folder}: has no config.json, so it is not a base model")
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"model.path={folder}: has no *.safetensors weights (pickled weights are not loaded: "
            "convert them once with transformers' save_pretrained)"
        )
    check_weights(folder, _config(folder / "config.json"))


def check_regular(folder: Path) -> None:
    """Raise InputError if a folder has pipes, sockets or devices, reading which may never end."""
    for path in folder.iterdir():
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"{path} is not a regular file: remove it")


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be loaded: {error}") from error
    if not isinstance(config, dict):
        raise InputError(
            f"{path} can't be loaded: it must contain a JSON object, not {config!r:.50}"
        )
    return config


def content_hash(settings: ModelSettings, cache: Path | None = None) -> str:
    """sha256 over the files of a local base, or of a GGUF file; `id@revision` for a hub model.

    `cache` is as in `files_hash`.
    """
    if (file := settings.file) is not None:
        return gguf.content(file)  # the same wherever and by which version it was converted
    folder = settings.folder
    if folder is None:
        return f"{settings.path}@{settings.revision or 'main'}"
    return folder_hash(folder, cache)


def folder_hash(folder: Path, cache: Path | None = None) -> str:
    """sha256 over the files of a model or adapter that can change its results."""
    patterns = "*.json *.safetensors adapter_model.bin *.model *.txt *.jinja *.py".split()
    files = {p.name: p for pattern in patterns for p in folder.glob(pattern)}
    files.pop("pretraining.json", None)  # a report on the training, no part of the model
    return files_hash(files, cache)
