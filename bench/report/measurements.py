"""Names of measurements: the published one has the plain name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from bench.report.published import FOLDER

PUBLISHED = FOLDER.parent / "records"
LENGTH = 60  # characters of a word in a file's name
Content = Mapping[str, Any]


def measurement_name(kind: str, content: Content) -> str:
    """The stem of a measurement's files: its kind, and what makes it unlike the published one.

    So a study of another base does not replace the committed files. A base, data or device of
    another name is named; other settings are a digest of all of them.
    """
    path = PUBLISHED / kind / f"{kind}.json"
    if not path.is_file():
        return kind
    own, published = (_facts(each) for each in (content, json.loads(path.read_bytes())))
    words = [
        re.sub(r"[^\w.]+", "_", str(value)).strip("._")[:LENGTH]
        for key, value in own[0].items()
        if value not in (None, published[0].get(key))
    ]
    if not words and own[1] != published[1]:
        text = json.dumps(own[1], sort_keys=True, default=str)
        words = [hashlib.sha256(text.encode()).hexdigest()[:6]]
    return "-".join([kind, *words])


def _facts(content: Content) -> tuple[dict[str, Any], dict[str, Any]]:
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
    }
    return named, other
