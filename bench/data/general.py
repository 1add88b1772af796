"""Texts that are no problems: what forgetting is measured on, what the embedded base has read."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from bench.errors import InputError
from bench.models.tiny_base import TINY_BASE

EMBEDDED = "embedded"
GENERAL = Path(__file__).parent / "general.txt"  # written for this purpose: on no site to train on
HELD_OUT_DOCUMENTS = 300


def general_documents(name: str, tiny: bool) -> list[str]:
    """The documents of a general text.

    Args:
        name: `embedded`, or a text file, which is one document.
        tiny: whether the base is the embedded one. It has read nothing but its own corpus, so its
            text is of that kind: documents of a stream that it was not trained on.

    Raises:
        InputError: the file can't be read, or has no text in it.
    """
    if name == EMBEDDED and tiny:
        return _held_out()
    path = GENERAL if name == EMBEDDED else Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"evaluation.forgetting={name}: {error}; give {EMBEDDED}, or a text file in UTF-8"
        ) from error
    if not text:
        raise InputError(f"evaluation.forgetting={name}: no text in it")
    return [text]


def read_by_the_embedded_base(count: int) -> list[str]:
    """The first documents of the stream that the embedded base was pretrained on."""
    return _stream(0, count)


def _held_out() -> list[str]:
    # Pretraining takes its own validation loss on this stream, too.
    return _stream(1, HELD_OUT_DOCUMENTS)


def _stream(offset: int, count: int) -> list[str]:
    """Documents of the stream of the embedded base's own seed, or of one beside it."""
    from bench.data.synthetic.corpus import documents

    made = json.loads((TINY_BASE / "pretraining.json").read_text(encoding="utf-8"))
    return list(itertools.islice(documents(made["settings"]["seed"] + offset), count))
