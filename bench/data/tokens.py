"""Documents as token ids in files that are mapped into memory: encoded once, read by all runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from bench.errors import InputError
from bench.files import write_json
from bench.progress import Progress

AT_ONCE = 1000  # documents that are encoded together
SHARE = 2**32


@dataclass(frozen=True)
class Tokens:
    """Documents, each as `front, text, end`.

    Attributes:
        ids: token ids of all documents, one behind the other, uint16 or uint32, (tokens,).
        starts: where each begins in `ids`, and behind them the end, int64, (documents + 1,).
        sizes: bytes of each document's text in UTF-8, int64, (documents,).
        held_out: whether it is kept from training, bool, (documents,).
        folder: where they lie.
        share: of the documents, that is held out.
    """

    ids: NDArray[Any]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    folder: Path
    share: float

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the place where they lie: another process maps the same files."""
        return read, (self.folder, self.share)

    def document(self, index: int) -> NDArray[Any]:
        """The token ids of a document."""
        return self.ids[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each document, front and end included."""
        return np.diff(self.starts)


def encoded(
    documents: Iterable[str], tokenizer: Any, held_out: float, folder: Path, total: int = 0
) -> Tokens:
    """The documents' tokens, from the folder where they are there.

    In front of a document stands the tokenizer's token for a beginning, or where it has none the
    one for an end; behind it the one for an end.

    Args:
        documents: read only where the folder does not have them.
        tokenizer: of transformers.
        held_out: the share of the documents that is kept from training. Which these are, the text
            of each alone decides: equal documents are on one side, and stay there when others
            are added.
        folder: of these documents by this tokenizer; made where it isn't there.
        total: how many documents there are, for the progress; 0 where that is not known.

    Raises:
        InputError: there are too few documents to train on some and to hold some out.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "facts.json").is_file():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                _write(documents, tokenizer, partial, total)
                partial.replace(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    tokens = read(folder.absolute(), held_out)
    for kept, what in ((~tokens.held_out, "to train on"), (tokens.held_out, "held out")):
        if not kept.any():
            raise InputError(
                f"the text is too short: of its {len(kept)} documents at action.held_out="
                f"{held_out:g} there is none {what}. Give more text, or another share; where a "
                ".txt file holds many documents, data.separator says what stands between them"
            )
    return tokens


def _write(documents: Iterable[str], tokenizer: Any, folder: Path, total: int) -> None:
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    end = tokenizer.eos_token_id
    front = end if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    lengths: list[int] = []
    sizes: list[int] = []
    places: list[int] = []
    with (folder / "ids").open("wb") as file, Progress("encoding text", total, "document") as told:
        for texts in _parts(documents):
            encodings = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            for text, ids in zip(texts, encodings, strict=True):
                raw = text.encode()
                file.write(np.array([front, *ids, end], dtype).tobytes())
                lengths.append(len(ids) + 2)
                sizes.append(len(raw))
                places.append(int.from_bytes(hashlib.sha256(raw).digest()[:4]))
            told.update(len(texts))
    np.save(folder / "starts.npy", np.cumsum([0, *lengths], dtype=np.int64))
    np.save(folder / "sizes.npy", np.array(sizes, np.int64))
    np.save(folder / "places.npy", np.array(places, np.int64))
    write_json(folder / "facts.json", {"dtype": np.dtype(dtype).name, "documents": len(sizes)})


def _parts(documents: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(documents)
    while texts := list(itertools.islice(waiting, AT_ONCE)):
        yield texts


def read(folder: Path, share: float) -> Tokens:
    """The tokens that `encoded` left in a folder, with a share of the documents held out."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    empty = not facts["documents"]
    ids = np.empty(0, facts["dtype"]) if empty else np.memmap(folder / "ids", facts["dtype"], "r")
    return Tokens(
        ids=ids,
        starts=np.load(folder / "starts.npy"),
        sizes=np.load(folder / "sizes.npy"),
        held_out=np.load(folder / "places.npy") < round(share * SHARE),
        folder=folder,
        share=share,
    )
