"""The documents to pretrain on: plain text files, or the embedded base's corpus."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import InputError, unknown
from bench.models.hashes import files_hash

SOURCES = ("synthetic", "text")
ENDINGS = (".txt", ".jsonl")


@dataclass(frozen=True)
class TextSettings:
    """The text to pretrain on.

    Attributes:
        source: `text` (files), or `synthetic` (the embedded base's corpus).
        path: a .txt or .jsonl file in UTF-8, or a folder of them (`text`).
        separator: separator of the documents in a .txt file, with `\\n` for a newline; None: each
            file is one document.
        field: the key of the text in a line of .jsonl.
        documents: number of documents of the corpus (`synthetic`).
        seed: seed of the corpus (`synthetic`), independent of the run's seed.
    """

    source: str
    path: str | None = None
    separator: str | None = None
    field: str = "text"
    documents: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise unknown("data to pretrain on, data", self.source, SOURCES)
        if self.source == "text" and not self.path:
            raise InputError("data.path is missing: give a .txt or .jsonl file, or a folder")
        if self.source == "synthetic" and self.documents < 2:
            raise InputError(f"action.documents must be at least 2, got {self.documents}")
        if self.separator == "":
            raise InputError("data.separator is empty: give one, such as '\\n\\n', or null")

    def content_hash(self, cache: Path | None = None) -> str:
        """sha256 over the files, or over the corpus; `cache` as for a base's hash.

        Raises:
            InputError: there is no text file at the path.
        """
        if self.source == "synthetic":
            return _corpus_hash(self.seed, self.documents)
        root, files = text_files(str(self.path))
        names = {str(path.relative_to(root)): path for path in files}
        how = f"{self.separator}:{self.field}:{files_hash(names, cache)}"
        return hashlib.sha256(how.encode()).hexdigest()

    def read(self) -> Iterator[str]:
        """Iterate over the documents; empty ones are skipped.

        Raises:
            InputError: a file cannot be read, or has the wrong format.
        """
        if self.source == "synthetic":
            yield from corpus(self.seed, self.documents)
            return
        for path in text_files(str(self.path))[1]:
            found = _lines(path, self.field) if path.suffix == ".jsonl" else self._parts(path)
            yield from (document for document in found if document.strip())

    def _parts(self, path: Path) -> list[str]:
        with _readable(path):
            text = path.read_text(encoding="utf-8-sig")
        # Hydra's grammar has no escape for a newline.
        return text.split(self.separator.replace("\\n", "\n")) if self.separator else [text]


def text_files(given: str) -> tuple[Path, list[Path]]:
    """The root folder of a path, and its text files in a fixed order.

    Raises:
        InputError: there are none.
    """
    path = Path(given).expanduser()
    if path.is_file():
        if path.suffix not in ENDINGS:
            raise InputError(f"data.path={given}: not a .txt or .jsonl file")
        return path.parent, [path]
    if not path.is_dir():
        raise InputError(f"data.path={given}: no such file or folder")
    files = sorted(p for ending in ENDINGS for p in path.rglob(f"*{ending}") if p.is_file())
    if not files:
        raise InputError(f"data.path={given}: contains no .txt or .jsonl file")
    return path, files


def _lines(path: Path, field: str) -> Iterator[str]:
    with _readable(path), path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)[field]
                if not isinstance(text, str):
                    raise TypeError(f"{text!r:.30} is not text")
                text.encode()  # half of a surrogate pair is valid JSON
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise InputError(
                    f"data.path: line {number} of {path} is not a JSON object with text under "
                    f"'{field}' ({type(error).__name__}: {error}); data.field=NAME sets another key"
                ) from error
            yield text


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(
            f"data.path: {path} is not in UTF-8 (byte {error.start} is "
            f"{error.object[error.start]:#x}): convert it, e.g. with `iconv -f latin1 -t utf-8`"
        ) from error
    except OSError as error:
        raise InputError(f"data.path: {path} can't be read: {error}") from error


@functools.lru_cache(maxsize=2)
def corpus(seed: int, count: int) -> tuple[str, ...]:
    """The first documents of the embedded base's corpus for a seed."""
    from bench.data.synthetic.corpus import documents

    return tuple(itertools.islice(documents(seed), count))


@functools.lru_cache
def _corpus_hash(seed: int, count: int) -> str:
    digest = hashlib.sha256()
    for document in corpus(seed, count):
        digest.update(document.encode() + b"\0")
    return digest.hexdigest()
