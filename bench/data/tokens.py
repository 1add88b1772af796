"""Documents as token ids in memory-mapped files: encoded once, shared by all runs."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import InputError
from bench.files import locked, read_cache, replaced, write_json
from bench.progress import Progress

AT_ONCE = 1000  # documents per call of the tokenizer
DIGESTS = "digests.npy"
HELD_OUT = ("validation", "test")
# The purpose of each part of the documents, for messages.
PARTS = {"train": "to train on", "validation": "for validation", "test": "for test"}


@dataclass(frozen=True)
class Tokens:
    """Documents, each with a start and an end token.

    Attributes:
        ids: token ids of all documents, concatenated, uint16 or uint32, (tokens,).
        starts: start of each document in `ids`, then the end, int64, (documents + 1,).
        sizes: bytes of each document's text in UTF-8, int64, (documents,).
        digests: sha256 of each document's text, uint8, (documents, 32).
        shares: fractions of the documents for validation and for test.
        pad_id: token of an empty place in a row.
        folder: the folder of the files.
    """

    ids: NDArray[Any]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digests: NDArray[np.uint8]
    shares: tuple[float, float]
    pad_id: int
    folder: Path

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its folder: another process maps the same files."""
        return read, (self.folder, self.shares, self.pad_id)

    @cached_property
    def parts(self) -> dict[str, NDArray[np.int64]]:
        """Numbers of the documents of each of `PARTS`, ascending; they are disjoint.

        A document's text alone decides, so equal documents are in one part, and adding documents
        moves none.
        """
        places = np.ascontiguousarray(self.digests[:, :4]).view(">u4").ravel()
        ends = np.round(np.cumsum(self.shares) * 2**32)
        part = np.searchsorted(ends, places, side="right")
        return {name: np.flatnonzero(part == i) for i, name in enumerate((*HELD_OUT, "train"))}

    def facts(self) -> dict[str, dict[str, Any]]:
        """For each part, the number of documents, their bytes, and a sha256 over their digests."""
        return {
            name: {
                "documents": len(numbers),
                "bytes": int(self.sizes[numbers].sum()),
                "sha256": hashlib.sha256(self.digests[numbers].tobytes()).hexdigest(),
            }
            for name, numbers in ((name, self.parts[name]) for name in PARTS)
        }

    def document(self, index: int) -> NDArray[Any]:
        """The token ids of a document."""
        return self.ids[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each document, with start and end."""
        return np.diff(self.starts)


def encoded(
    documents: Iterable[str],
    tokenizer: Any,
    shares: tuple[float, float],
    folder: Path,
    total: int = 0,
) -> Tokens:
    """The tokens of documents, read from the folder if it exists.

    The start token is the tokenizer's beginning-of-sequence token, or its end-of-sequence token if
    it has no other; the end token is the end-of-sequence token.

    Args:
        documents: read only if the folder is created.
        tokenizer: a transformers tokenizer.
        shares: fractions of the documents for validation and for test, see `Tokens.parts`.
        folder: the folder of these documents and this tokenizer; created if missing or damaged.
        total: number of documents for the progress bar; 0 if unknown.

    Raises:
        InputError: a part has no document.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock"), "the tokens of the text"):
        if not _is_whole(folder):
            with replaced(folder) as partial:
                _write(documents, tokenizer, partial, total)
    tokens = read(folder.absolute(), shares, tokenizer.pad_token_id)
    for name, what in PARTS.items():
        if not len(tokens.parts[name]):
            asked = " ".join(f"action.{k}={v:g}" for k, v in zip(HELD_OUT, shares, strict=True))
            raise InputError(
                f"the text is too short: with {asked}, none of its {len(tokens.sizes)} documents "
                f"is left {what}. Give more text, or other shares; for a .txt file with several "
                "documents, set data.separator"
            )
    return tokens


def _write(documents: Iterable[str], tokenizer: Any, folder: Path, total: int) -> None:
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    end = tokenizer.eos_token_id
    start = end if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    facts: list[tuple[int, int]] = []
    digests = bytearray()
    waiting = iter(documents)
    with (folder / "ids").open("wb") as file, Progress("encoding text", total, "document") as bar:
        while texts := list(itertools.islice(waiting, AT_ONCE)):
            encodings = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            for text, ids in zip(texts, encodings, strict=True):
                raw = text.encode()
                file.write(np.array([start, *ids, end], dtype).tobytes())
                digests += hashlib.sha256(raw).digest()
                facts.append((len(ids) + 2, len(raw)))
            bar.update(len(texts))
    lengths, sizes = np.array(facts, np.int64).reshape(-1, 2).T
    np.save(folder / "starts.npy", np.concatenate([[0], np.cumsum(lengths)]))
    np.save(folder / "sizes.npy", sizes)
    np.save(folder / DIGESTS, np.frombuffer(bytes(digests), np.uint8).reshape(-1, 32))
    write_json(folder / "facts.json", {"dtype": np.dtype(dtype).name, "documents": len(facts)})


def _is_whole(folder: Path) -> bool:
    """Whether a folder has everything that `encoded` writes, and no file is truncated."""
    try:
        tokens = read(folder, (0.0, 0.0), pad_id=0)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return False
    documents = len(tokens.starts) - 1
    ends = tokens.starts[-1] if documents >= 0 else None
    return ends == len(tokens.ids) and len(tokens.sizes) == len(tokens.digests) == documents


def read(folder: Path, shares: tuple[float, float], pad_id: int) -> Tokens:
    """The tokens that `encoded` wrote into a folder; see `Tokens` for the other arguments.

    Raises:
        OSError, EOFError, ValueError, KeyError, TypeError: the files are missing or damaged.
    """
    facts = read_cache(folder / "facts.json") or {}
    empty = not facts["documents"]
    ids = np.empty(0, facts["dtype"]) if empty else np.memmap(folder / "ids", facts["dtype"], "r")
    return Tokens(
        ids=ids,
        starts=np.load(folder / "starts.npy"),
        sizes=np.load(folder / "sizes.npy"),
        digests=np.load(folder / DIGESTS),
        shares=shares,
        pad_id=pad_id,
        folder=folder,
    )
