"""Broken and hostile inputs: each ends with one message, or is repaired."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.forked import running
from tests.torture.interrupted import LIMIT, ONE_ROW, outcome

Command = Sequence[str]
TINY = Path(__file__).resolve().parents[2] / "bench" / "models" / "tiny"


class Marker:
    """What a pickle runs when it is loaded: it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def _rows(content: str | bytes, name: str = "SVAMP") -> Callable[[Path], Command]:
    """A file of test rows."""

    def command(folder: Path) -> Command:
        path = folder / "data" / "dataset" / "SVAMP" / "test.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        data = ("data=llm_adapters", f"data.root={folder / 'data'}", f"data.tests=[{name}]")
        return ("method=none", *data, "protocol.max_new_tokens=2")

    return command


def _base(damage: Callable[[Path], object]) -> Callable[[Path], Command]:
    """A copy of the embedded base that is damaged."""

    def command(folder: Path) -> Command:
        base = folder / "base"
        shutil.copytree(TINY, base)
        damage(base)
        return (*ONE_ROW, "model=local", f"model.path={base}")

    return command


def _adapter(config: str, weights: bytes = b"") -> Callable[[Path], Command]:
    def command(folder: Path) -> Command:
        adapter = folder / "adapter"
        adapter.mkdir()
        (adapter / "adapter_config.json").write_text(config)
        (adapter / "adapter_model.safetensors").write_bytes(weights)
        return (*ONE_ROW, "method=lora", f"adapter={adapter}")

    return command


def _weights(content: bytes) -> Callable[[Path], object]:
    return lambda base: _weight_file(base).write_bytes(content)


def _weight_file(base: Path) -> Path:
    return next(base.glob("*.safetensors"))


def _pickled(base: Path) -> None:
    _weight_file(base).unlink()
    with (base / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Marker(base.parent / "executed"), file)


def _cut(base: Path) -> None:
    path = _weight_file(base)
    path.write_bytes(path.read_bytes()[:-100])


def _with_code(base: Path) -> None:
    (base / "code.py").write_text(f"import os\nos.mkdir({str(base.parent / 'executed')!r})\n")
    path = base / "config.json"
    code = {"model_type": "unknown", "auto_map": {"AutoModelForCausalLM": "code.Model"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | code))


def _record(content: str) -> Callable[[Path], Command]:
    def command(folder: Path) -> Command:
        table = folder / "records" / "toy"
        table.mkdir(parents=True)
        (table / "0123456789ab.json").write_text(content)
        return ("action=import", f"action.folder={folder / 'records'}")

    return command


ROW = {"instruction": "What is 1 + 1?", "input": "", "output": "2", "answer": "2"}
REFUSED: dict[str, Callable[[Path], Command]] = {
    "rows: an empty file": _rows(""),
    "rows: truncated JSON": _rows('[{"instruction": "What'),
    "rows: an object": _rows("{}"),
    "rows: no row": _rows("[]"),
    "rows: numbers in place of rows": _rows("[1, 2]"),
    "rows: no answer": _rows(json.dumps([{**ROW, "answer": None}])),
    "rows: an answer of control characters": _rows(json.dumps([{**ROW, "answer": "\x1b[2J"}])),
    "rows: invalid UTF-8": _rows(b'[{"instruction": "\xff\xfe"}]'),
    "rows: nested 100,000 deep": _rows("[" * 100_000),
    "rows: a set outside of its folder": _rows(json.dumps([ROW]), "../SVAMP"),
    "base: no configuration": _base(lambda base: (base / "config.json").unlink()),
    "base: configuration of another kind": _base(
        lambda base: (base / "config.json").write_text("[]")
    ),
    "base: weights cut off": _base(_cut),
    "base: empty weights": _base(_weights(b"")),
    "base: a header of 2^60 bytes": _base(_weights(struct.pack("<Q", 1 << 60) + b"{}")),
    "base: pickled weights that run code": _base(_pickled),
    "base: a class that runs code": _base(_with_code),
    "adapter: configuration cut off": _adapter('{"peft_type": "LO'),
    "adapter: of another method": _adapter('{"peft_type": "PREFIX_TUNING"}'),
    "adapter: no folder": lambda folder: (*ONE_ROW, "method=lora", f"adapter={folder / 'none'}"),
    "record: truncated JSON": _record('{"identity": "0123'),
    "record: an object of another kind": _record("{}"),
    "record: nested 100,000 deep": _record('{"a": ' * 100_000),
    "command: an unknown key": lambda folder: (*ONE_ROW, "+protocol.max_new_token=3"),
    "command: unbalanced brackets": lambda folder: (*ONE_ROW, "data.tests=[mawps"),
    "command: a number out of range": lambda folder: (*ONE_ROW, "data.test_size=-1"),
    "command: not a number": lambda folder: ("method=lora", "train.lr=nan"),
}

# What of a finished run is damaged; the same command must end with the same result.
REPAIRED: dict[str, tuple[str, bytes]] = {
    "hashes.json of another kind": ("hashes.json", b"[1]"),
    "hashes.json truncated": ("hashes.json", b'{"a'),
    "predictions.jsonl truncated": ("runs/*/predictions.jsonl", b'{"task": "ma'),
    "predictions.jsonl of another kind": ("runs/*/predictions.jsonl", b"\x00\xff\n[]\n"),
    "record.json truncated": ("runs/*/record.json", b"{"),
}


def refusal(name: str, folder: Path, store: Path) -> list[str]:
    """Give the input to a command; what was wrong with how it ended."""
    results, log = _results(folder, store), folder / "log"
    code, text = _run(REFUSED[name](folder), results, log)
    faults = []
    if code is None:
        faults.append("it did not end")
    elif code not in (1, 2):
        faults.append(f"exit code {code}")
    if text.count("error: ") != 1 or "Traceback" in text:
        faults.append(f"no single message: {text[-300:]!r}")
    if "\x1b" in text:
        faults.append("control characters reached the terminal")
    if (folder / "executed").exists():
        faults.append("code of the input was executed")
    if list(results.glob("runs/*/record.json")):
        faults.append("a run was recorded")
    return faults


def repair(name: str, folder: Path, store: Path) -> list[str]:
    """Damage a file of a finished run, repeat it with force=true, and compare the results."""
    results, log = _results(folder, store), folder / "log"
    if _run(ONE_ROW, results, log)[0] != 0:
        raise RuntimeError(log.read_text())
    expected = outcome(results)
    pattern, content = REPAIRED[name]
    for path in results.glob(pattern):
        path.write_bytes(content)
    code, text = _run((*ONE_ROW, "force=true"), results, log)
    if code != 0:
        return [f"exit code {code}: {text[-300:]!r}"]
    found = outcome(results)
    for each in (expected, found):
        del each["runs of the store"]  # force=true records the run again
    return [] if found == expected else ["another result than before"]


def _results(folder: Path, store: Path) -> Path:
    results = folder / "results"
    results.mkdir(parents=True)
    shutil.copy(store, results / "mlflow.db")
    return results


def _run(arguments: Command, results: Path, log: Path) -> tuple[int | None, str]:
    log.write_text("")
    with running([*arguments, f"tracking.folder={results}"], log) as process:
        process.join(LIMIT)
        return process.exitcode, log.read_text(errors="replace")
