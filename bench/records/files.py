"""The files of a published table or of a run, and how they are read: they may come from anywhere.

<table>/sweep.json         what the sweep asked for
<table>/<id>.json          the record of a run; id: the first 12 digits of its identity
<table>/<id>.jsonl.gz      its predictions
<kind>/<kind>.json         a measurement
<id>/record.json           the record of a run in results/runs
<id>/predictions.jsonl     its predictions
<id>/adapter/              its adapter
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

SWEEP = "sweep.json"
RUN, RUN_PREDICTIONS, ADAPTER = "record.json", "predictions.jsonl", "adapter"  # in a run's folder
RECORD = re.compile(r"[0-9a-f]{12}\.json")
OURS = re.compile(r"[0-9a-f]{12}\.json(l\.gz)?|sweep\.json")
KINDS = ("efficiency", "embeddings")  # of measurements

BYTES = 64 << 20  # of a JSON file
PREDICTIONS = 512 << 20  # bytes, decompressed
DEPTH = 40  # of nested JSON


def read_json(path: Path) -> Any:
    """A JSON file of limited size and depth.

    Raises:
        ValueError: it is too large or too deep, or no JSON.
    """
    if path.stat().st_size > BYTES:
        raise ValueError(f"it is larger than {BYTES >> 20} MB")
    try:
        content = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not _shallow(content, DEPTH):
        raise ValueError(f"it is nested more than {DEPTH} levels deep")
    return content


def read_predictions(path: Path) -> bytes:
    """A predictions.jsonl, compressed if its name ends with .gz, of limited size.

    Raises:
        ValueError: it is too large, or not compressed by gzip.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(PREDICTIONS + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"it is not a gzip file: {error}") from error
    if len(content) > PREDICTIONS:
        raise ValueError(f"it is larger than {PREDICTIONS >> 20} MB when decompressed")
    return content


def _shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_shallow(one, levels - 1) for one in inner)
