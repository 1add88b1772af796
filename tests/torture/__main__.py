"""python -m tests.torture: kills and broken inputs, and the table of how they ended."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.torture.inputs import REFUSED, REPAIRED, refusal, repair
from tests.torture.interrupted import IN_A_ROW, SCENARIOS, Interrupted, empty_store

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
TABLE = """\
# Reliability

Written by `make torture` (at most {kills} interruptions), which kills runs and breaks their inputs:

- **Interruptions.** A command is killed (SIGKILL) or interrupted (Ctrl-C) up to {in_a_row} times,
  each time at a random moment, and then left to finish. Its results must be those of an
  undisturbed run: predictions, losses, scores, weights, tables, and each run in the tracking store
  exactly once.
- **Broken and hostile inputs** must end with one error message, without recording a run and without
  executing any code they contain.
- **Damaged files of a run** must not change its result.

| What | Tries | Interruptions | Outcome |
|---|--:|--:|---|
{rows}

## Files and services

- **Files** are replaced atomically. The partial files of a killed process are removed when its run
  is started again or, outside of run folders, an hour later at the earliest, when the file is next
  written.
- **Caches** (`hashes.json`, `tokens/`, `training.json`, checkpoints) that are missing, truncated or
  not of the expected format are rebuilt.
- **Locks**: a process that waits for a file or a PostgreSQL database says which process on which
  machine holds the lock, and since when.
- **A tracking server** that does not answer is reported after about 10 s: two attempts of
  `MLFLOW_HTTP_REQUEST_TIMEOUT` seconds each (default: 5). The result stays in `results/runs/ID`;
  repeating the command records it, as does `action=import action.folder=results/runs/ID`.
- **Committed tables and figures** are only written by the command they belong to. The same sweep
  with other settings writes to a name that contains these settings, such as
  `table2-data.test_size_6`.
"""


@dataclass
class Line:
    """A line of the table: the tries of one kind, and the faults that were found."""

    name: str
    tries: int = 0
    interruptions: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """In words."""
        if not self.tries:
            return "not tried"
        if not self.faults:
            return "as undisturbed" if self.interruptions else "as required"
        return f"**{len(self.faults)} failed**: " + "; ".join(sorted(set(self.faults))[:3])

    @property
    def row(self) -> str:
        """In Markdown."""
        outcome = self.outcome.replace("|", "\\|").replace("\n", " ")
        return f"| {self.name} | {self.tries} | {self.interruptions or ''} | {outcome} |"


def main() -> int:
    """Read the command line, try everything, and write the table; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="make torture ARGS=", description=__doc__)
    parser.add_argument("--kills", type=int, default=120, help="interruptions, at most")
    parser.add_argument("--minutes", type=float, default=14, help="for the interruptions, in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only what has this in its name")
    parser.add_argument("--workers", type=int, default=2, help="commands at a time")
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    given = parser.parse_args()
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    lines = list(_try_all(given, folder))
    rows = "\n".join(line.row for line in lines)
    given.out.write_text(TABLE.format(rows=rows, in_a_row=IN_A_ROW, kills=given.kills))
    failed = [line for line in lines if line.faults]
    for line in failed:
        print(f"{line.name}: " + "\n  ".join(line.faults))
    total, count = sum(line.tries for line in lines), sum(line.interruptions for line in lines)
    print(f"{total} tries, {count} interruptions, {len(failed)} of {len(lines)} kinds failed")
    if failed:
        print(f"folders of failed tries: {folder}")
    else:
        shutil.rmtree(folder)
    print(given.out)
    return 1 if failed else 0


def _try_all(given: argparse.Namespace, folder: Path) -> Iterator[Line]:
    began = time.monotonic()
    store = empty_store(folder / "store")
    scenarios = [one for one in SCENARIOS if given.only in one.name]
    kinds: list[tuple[Line, Callable[[], None]]] = []
    kills = -(-given.kills // max(1, len(scenarios)))
    share = 60 * given.minutes * given.workers / max(1, len(scenarios))

    def interrupt(line: Line, number: int) -> None:
        limit = time.monotonic() + share
        target = Interrupted(scenarios[number], folder / f"scenario{number}", store)
        draw = random.Random(f"{given.seed} {line.name}")
        while line.interruptions < kills and time.monotonic() < limit:
            ended = target.attempt(line.tries, draw)
            line.tries += 1
            line.interruptions += ended.interruptions
            line.faults += ended.faults
            print(
                f"{line.name}: interruption {line.interruptions}/{kills}, "
                f"{len(line.faults)} faults, {time.monotonic() - began:.0f} s",
                flush=True,
            )

    def give(line: Line, number: int, ending: Callable[[str, Path, Path], list[str]]) -> None:
        line.tries += 1
        line.faults += ending(line.name, folder / f"{ending.__name__}{number}", store)
        print(f"{line.name}: {line.outcome}, {time.monotonic() - began:.0f} s", flush=True)

    for ending, names in ((refusal, REFUSED), (repair, REPAIRED)):
        for number, name in enumerate(name for name in names if given.only in name):
            line = Line(name)
            kinds.append((line, partial(give, line, number, ending)))
    for number, scenario in enumerate(scenarios):
        line = Line(scenario.name)
        kinds.append((line, partial(interrupt, line, number)))
    with ThreadPoolExecutor(given.workers) as pool:
        done = [(line, pool.submit(task)) for line, task in kinds]
        for line, future in done:
            if error := future.exception():
                line.tries += not line.tries
                line.faults.append(f"{type(error).__name__}: {error}")
            yield line


if __name__ == "__main__":
    raise SystemExit(main())
