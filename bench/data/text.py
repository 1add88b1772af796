"""The documents that a model is pretrained on: files of plain text, or the embedded corpus."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import InputError, unknown
from bench.models.settings import files_hash

SOURCES = ("synthetic", "text")
ENDINGS = (".txt", ".jsonl")


@dataclass(frozen=True)
class TextSettings:
    """What to pretrain on.

    Attributes:
        source: `text` (files of one's own), or `synthetic` (the embedded corpus).
        path: a .txt or .jsonl file in UTF-8, or a folder of such (`text`).
        separator: what stands between the documents of a .txt file; None: each file is one. `\\n`
            is a line's end.
        field: of a line of .jsonl, which holds the text.
        documents: how many of the corpus (`synthetic`).
        seed: of the corpus (`synthetic`); a run's own seed never changes the documents.
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
            raise InputError(
                "data.path is missing: give a .txt or .jsonl file, or a folder of them"
            )
        if self.source == "synthetic" and self.documents < 2:
            raise InputError(f"action.documents must be at least 2, got {self.documents}")
        if self.separator == "":
            raise InputError("data.separator is empty: give one, such as '\\n\\n', or null")

    def content_hash(self, cache: Path | None = None) -> str:
        """sha256 over the files, or over the corpus; `cache` as for a base's hash.

        Raises:
            InputError: there is no text at the path.
        """
        if self.source == "synthetic":
            return _corpus_hash(self.seed, self.documents)
        root, files = text_files(str(self.path))
        names = {str(path.relative_to(root)): path for path in files}
        how = f"{self.separator}:{self.field}:{files_hash(names, cache)}"
        return hashlib.sha256(how.encode()).hexdigest()

    def read(self) -> Iterator[str]:
        """The documents, one after another; empty ones are passed over.

        Raises:
            InputError: a file can't be read, or is not what its ending says.
        """
        if self.source == "synthetic":
            yield from _corpus(self.seed, self.documents)
            return
        for path in text_files(str(self.path))[1]:
            lines = _lines(path, self.field) if path.suffix == ".jsonl" else self._parts(path)
            yield from (document for document in lines if document.strip())

    def _parts(self, path: Path) -> list[str]:
        text = _text(path)
        if self.separator is None:
            return [text]
        # Hydra's grammar has no escape for a line's end.
        return text.split(self.separator.replace("\\n", "\n"))


def text_files(given: str) -> tuple[Path, list[Path]]:
    """The folder that names are told from, and the files of text at a path, in a fixed order.

    Raises:
        InputError: there are none.
    """
    path = Path(given).expanduser()
    if path.is_file():
        if path.suffix not in ENDINGS:
            raise InputError(f"data.path={given}: is no .txt or .jsonl file")
        return path.parent, [path]
    if not path.is_dir():
        raise InputError(f"data.path={given}: no such file or folder")
    files = sorted(p for ending in ENDINGS for p in path.rglob(f"*{ending}") if p.is_file())
    if not files:
        raise InputError(f"data.path={given}: has no .txt or .jsonl file in it")
    return path, files


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    except OSError as error:
        raise InputError(f"data.path: {path} can't be read: {error}") from error


def _lines(path: Path, field: str) -> Iterator[str]:
    number = 0
    try:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                number += 1
                if line.strip():
                    yield _text_of(json.loads(line)[field])
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    except OSError as error:
        raise InputError(f"data.path: {path} can't be read: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"data.path: line {number} of {path} is no object with the text under '{field}' "
            f"({type(error).__name__}: {error}); data.field=NAME names another key"
        ) from error


def _text_of(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.30} is no text")
    return value


def _not_utf8(path: Path, error: UnicodeDecodeError) -> InputError:
    return InputError(
        f"data.path: {path} is not in UTF-8 (byte {error.start} is "
        f"{error.object[error.start]:#x}): convert it, as by `iconv -f latin1 -t utf-8`"
    )


@functools.lru_cache(maxsize=1)
def _corpus(seed: int, count: int) -> tuple[str, ...]:
    from bench.data.synthetic.corpus import documents

    return tuple(itertools.islice(documents(seed), count))


@functools.lru_cache
def _corpus_hash(seed: int, count: int) -> str:
    digest = hashlib.sha256()
    for document in _corpus(seed, count):
        digest.update(document.encode() + b"\0")
    return digest.hexdigest()
