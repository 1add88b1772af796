"""Names of files: a published measurement or table has the plain name, others a longer one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from bench.files import digest
from bench.report.published import FOLDER

PUBLISHED = FOLDER.parent / "records"
LENGTH = 60  # characters of a word in a file's name
SHORT = 6  # digits of a digest there
# What the published parts of an efficiency measurement depend on; a part may lack some.
PARTS = {
    "throughput": ("data", "rows", "tokens", "steps", "batch_size", "micro_batch_size", "rounds"),
    "evaluation": ("problems", "sets", "chunk", "batch_size", "max_new_tokens", "taught"),
    "hyperbolicity": ("prompts", "tokens", "dimension"),
    "helm": ("size", "tokens", "batch", "rounds", "vocabulary", "dtype"),
}
Content = Mapping[str, Any]


def file_stem(name: str, words: Iterable[Any]) -> str:
    """A name and further words, in characters that every file system takes."""
    return "-".join([name, *(re.sub(r"[^\w.]+", "_", str(w)).strip("._")[:LENGTH] for w in words)])


def measurement_name(kind: str, content: Content) -> str:
    """The stem of a measurement's files: its kind, and what makes it unlike the published one.

    Other measurements therefore do not replace the committed files. A different base, data or
    device is named; other settings become one digest. A measurement with additional parts counts as
    the published one if it has all of that one's parts.
    """
    path = PUBLISHED / kind / f"{kind}.json"
    if not path.is_file():
        return kind
    published = json.loads(path.read_bytes())
    (named, other), (plain, same) = (_facts(each, published) for each in (content, published))
    words = [value for key, value in named.items() if value not in (None, plain.get(key))]
    if not words and other != same:
        words = [digest(other, SHORT)]
    return file_stem(kind, words)


def _facts(content: Content, published: Content) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a measurement can be named by, and what else it depends on."""
    base, data = content.get("model") or {}, content.get("data") or {}
    parts = [content.get(part) or {} for part in ("throughput", "evaluation")]
    named = {
        "model": base.get("name") or next((p["model"] for p in parts if "model" in p), None),
        "data": data.get("source"),
        "device": None if base else content.get("device"),
    }
    other = {
        "settings": content.get("settings"),
        "threads": None if base else content.get("threads"),
        "sets": {key: own.get("rows") for key, own in (data.get("sets") or {}).items()},
        "base": [base.get(key) for key in ("dimension", "vocabulary", "tied")],
        "parts": {
            part: {key: (content.get(part) or {}).get(key) for key in keys if key in known}
            for part, keys in PARTS.items()
            if (known := published.get(part))
        },
    }
    return named, other
