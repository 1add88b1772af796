"""Documents as token ids in memory-mapped files: encoded once, shared by all runs."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import InputError
from bench.files import locked, read_cache, write_json
from bench.progress import Progress

AT_ONCE = 1000  # documents per call of the tokenizer


@dataclass(frozen=True)
class Tokens:
    """Documents, each with a start and an end token.

    Attributes:
        ids: token ids of all documents, concatenated, uint16 or uint32, (tokens,).
        starts: start of each document in `ids`, then the end, int64, (documents + 1,).
        sizes: bytes of each document's text in UTF-8, int64, (documents,).
        held_out: whether a document is excluded from training, bool, (documents,).
        folder: the folder of the files.
        share: fraction of held-out documents.
    """

    ids: NDArray[Any]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    folder: Path
    share: float

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its folder: another process maps the same files."""
        return read, (self.folder, self.share)

    def document(self, index: int) -> NDArray[Any]:
        """The token ids of a document."""
        return self.ids[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each document, with start and end."""
        return np.diff(self.starts)


def encoded(
    documents: Iterable[str], tokenizer: Any, held_out: float, folder: Path, total: int = 0
) -> Tokens:
    """The tokens of documents, read from the folder if it exists.

    The start token is the tokenizer's beginning-of-sequence token, or its end-of-sequence token if
    it has no other; the end token is the end-of-sequence token.

    Args:
        documents: read only if the folder is created.
        tokenizer: a transformers tokenizer.
        held_out: fraction of documents excluded from training. A document's text alone decides, so
            equal documents are on the same side, and adding documents moves none.
        folder: the folder of these documents and this tokenizer; created if missing or damaged.
        total: number of documents for the progress bar; 0 if unknown.

    Raises:
        InputError: there are too few documents for training and held-out text.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock"), "the tokens of the text"):
        if not _is_whole(folder):
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                _write(documents, tokenizer, partial, total)
                shutil.rmtree(folder, ignore_errors=True)
                partial.replace(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    tokens = read(folder.absolute(), held_out)
    for kept, what in ((~tokens.held_out, "to train on"), (tokens.held_out, "held out")):
        if not kept.any():
            raise InputError(
                f"the text is too short: of its {len(kept)} documents at action.held_out="
                f"{held_out:g} there is none {what}. Give more text, or another fraction; for a "
                ".txt file with several documents, set data.separator"
            )
    return tokens


def _write(documents: Iterable[str], tokenizer: Any, folder: Path, total: int) -> None:
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    end = tokenizer.eos_token_id
    start = end if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    facts: list[tuple[int, int, int]] = []
    waiting = iter(documents)
    with (folder / "ids").open("wb") as file, Progress("encoding text", total, "document") as bar:
        while texts := list(itertools.islice(waiting, AT_ONCE)):
            encodings = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            for text, ids in zip(texts, encodings, strict=True):
                raw = text.encode()
                file.write(np.array([start, *ids, end], dtype).tobytes())
                place = int.from_bytes(hashlib.sha256(raw).digest()[:4])
                facts.append((len(ids) + 2, len(raw), place))
            bar.update(len(texts))
    lengths, sizes, places = np.array(facts, np.int64).reshape(-1, 3).T
    np.save(folder / "starts.npy", np.concatenate([[0], np.cumsum(lengths)]))
    np.save(folder / "sizes.npy", sizes)
    np.save(folder / "places.npy", places)
    write_json(folder / "facts.json", {"dtype": np.dtype(dtype).name, "documents": len(facts)})


def _is_whole(folder: Path) -> bool:
    """Whether a folder has all that `encoded` writes, and nothing is cut off."""
    try:
        tokens = read(folder, 0.0)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return False
    documents = len(tokens.starts) - 1
    ends = tokens.starts[-1] if documents >= 0 else None
    return ends == len(tokens.ids) and len(tokens.sizes) == len(tokens.held_out) == documents


def read(folder: Path, share: float) -> Tokens:
    """The tokens that `encoded` wrote into a folder, with a fraction of the documents held out.

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
        held_out=np.load(folder / "places.npy") < round(share * 2**32),
        folder=folder,
        share=share,
    )
