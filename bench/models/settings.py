"""Which base model a run takes, as plain data, and the hash of what it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import InputError, unknown
from bench.files import write_json
from bench.models.checkpoint import check_weights
from bench.models.tiny_base import TINY_BASE

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("int8", "nf4")
PROMPT_STYLES = ("alpaca", "llama3", "chatml", "gemma")


@dataclass(frozen=True)
class ModelSettings:
    """A base model.

    Attributes:
        name: what tables call it, and what a method's learning rates are looked up by.
        path: a local folder or a hub id; `embedded` is the base shipped with the package.
        revision: a hub revision; pin it, the default branch moves.
        dtype: of the weights; `auto` is bfloat16 on a GPU that has it, else float32.
        published: the name that the published tables have for it, where they have one.
        trust_remote_code: run code that comes with the model. Off unless you turn it on.
        context: the most tokens, prompt and answer together; None for what its configuration says.
        prompt_style: one of PROMPT_STYLES: how a protocol that knows several asks this base.
        quantization: `int8` or `nf4`, what linear layers are held in; None for `dtype`.
        check_memory: refuse a base that by an estimate does not fit.
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

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise unknown("model.dtype", self.dtype, DTYPES)
        if self.quantization is not None and self.quantization not in QUANTIZATIONS:
            raise unknown("model.quantization", self.quantization, QUANTIZATIONS)
        if self.context is not None and self.context < 1:
            raise InputError(f"model.context must be at least 1 token, got {self.context}")
        if self.prompt_style is not None and self.prompt_style not in PROMPT_STYLES:
            raise unknown("model.prompt_style", self.prompt_style, PROMPT_STYLES)

    @property
    def folder(self) -> Path | None:
        """The local folder of the model; None for a hub id."""
        if self.path == "embedded":
            return TINY_BASE
        folder = Path(self.path).expanduser()
        return folder if folder.is_dir() else None


def check_folder(settings: ModelSettings) -> None:
    """Refuse a base that can't be loaded, before anything heavy is imported.

    Raises:
        InputError: the path looks local and is not there, or lacks its config or its weights.
    """
    folder = settings.folder
    if folder is None:
        if settings.path.startswith((".", "/", "~")) or settings.path.count("/") != 1:
            raise InputError(f"model.path={settings.path}: no such folder")
        return
    if not (folder / "config.json").is_file():
        raise InputError(f"model.path={folder}: has no config.json, so it is no base model")
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"model.path={folder}: has no *.safetensors weights (pickled weights are not loaded: "
            "convert them once with transformers' save_pretrained)"
        )
    check_weights(folder, _config(folder / "config.json"))


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be loaded: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} can't be loaded: it must hold an object, not {config!r:.50}")
    return config


def content_hash(settings: ModelSettings, cache: Path | None = None) -> str:
    """sha256 over a local base's files; `id@revision` for a hub model.

    Args:
        settings: the base.
        cache: a JSON file that keeps the hash of large files by path, size and time of change, so
            that fourteen gigabytes are read once and not at each start.
    """
    folder = settings.folder
    if folder is None:
        return f"{settings.path}@{settings.revision or 'main'}"
    return folder_hash(folder, cache)


def folder_hash(folder: Path, cache: Path | None = None) -> str:
    """sha256 over the files of a model's or an adapter's folder that can change what it does."""
    patterns = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py")
    # Not pretraining.json: a report of how long it took, no part of the model.
    files = {p.name: p for pattern in patterns for p in folder.glob(pattern)}
    return files_hash({n: p for n, p in files.items() if n != "pretraining.json"}, cache)


def files_hash(files: Mapping[str, Path], cache: Path | None = None) -> str:
    """sha256 over files and the names that they go by; `cache` as for `content_hash`."""
    known = _read_cache(cache)
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}:{_file_hash(path, known)}\n".encode())
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, known)
    return digest.hexdigest()


def _read_cache(cache: Path | None) -> dict[str, str]:
    try:
        known = json.loads(cache.read_text()) if cache else {}
    except (OSError, ValueError):
        known = {}  # a cache that can't be read is one that has to be made again
    return known if isinstance(known, dict) else {}


def _file_hash(path: Path, known: dict[str, str]) -> str:
    facts = path.stat()
    key = f"{path.resolve()}:{facts.st_size}:{facts.st_mtime_ns}"
    if key not in known:
        with path.open("rb") as stream:
            known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return known[key]
