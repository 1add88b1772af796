"""General text: what forgetting is measured on, and what the embedded base was pretrained on."""

from __future__ import annotations

import json
from pathlib import Path

from bench.data.text import corpus
from bench.errors import InputError
from bench.models.tiny_base import TINY_BASE

EMBEDDED = "embedded"
GENERAL = Path(__file__).parent / "general.txt"  # written for this purpose, published nowhere else
HELD_OUT_DOCUMENTS = 300


def general_documents(name: str, tiny: bool) -> list[str]:
    """The documents of a general text.

    Args:
        name: `embedded`, or a text file, which is one document.
        tiny: whether the base is the embedded one. It was pretrained on its own corpus only, so
            its `embedded` text is a part of that corpus that it was not trained on.

    Raises:
        InputError: the file cannot be read or is empty.
    """
    if name == EMBEDDED and tiny:
        return _stream(1, HELD_OUT_DOCUMENTS)  # pretraining's validation loss uses this seed, too
    path = GENERAL if name == EMBEDDED else Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"evaluation.forgetting={name}: {error}; give {EMBEDDED}, or a text file in UTF-8"
        ) from error
    if not text:
        raise InputError(f"evaluation.forgetting={name}: the file is empty")
    return [text]


def pretraining_documents(count: int) -> list[str]:
    """The first documents that the embedded base was pretrained on."""
    return _stream(0, count)


def _stream(offset: int, count: int) -> list[str]:
    made = json.loads((TINY_BASE / "pretraining.json").read_text(encoding="utf-8"))
    return list(corpus(made["settings"]["seed"] + offset, count))
