"""`action=tune`: tunes the learning rate of each row of a sweep, with equal effort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bench.config import read_action
from bench.errors import Failure, InputError
from bench.files import locked, write_json, write_text
from bench.names import seeds_label
from bench.report.design import sweep_records
from bench.report.formats import show, to_markdown
from bench.report.records import row_key, tuning_key
from bench.report.tables import Cell, Column, Report, Row, Table
from bench.sweep.jobs import Job, different
from bench.sweep.launch import Launch
from bench.sweep.objectives import VALIDATION_LOSS
from bench.sweep.rates import FOLDER, Rates, Try, TunedRow, Tuning, grid, next_rate, read_tuning
from bench.sweep.space import as_overrides
from bench.sweep.sweep import Sweep, combinations, failure_lines

# Overrides of a try, of fine-tuning and of pretraining: only the loss at the end is needed.
ALONE = {
    False: ("evaluation.split=none", "train.validations=1"),
    True: ("evaluation.split=validation", "action.evaluations=0"),  # reads no test document
}


@dataclass(frozen=True)
class TuneSettings:
    """The keys of conf/action/tune.yaml."""

    rates: int
    more: int
    seeds: list[int]

    def __post_init__(self) -> None:
        if self.rates < 3:
            raise InputError(
                f"action.rates must be at least 3, got {self.rates}: the best of two is always at "
                "an edge of the grid"
            )
        if self.more < 0 or not self.seeds:
            raise InputError("action.more must not be negative, and action.seeds must not be empty")


class TuneSweep(Sweep):
    """A sweep whose rows are tuned, not run.

    Attributes:
        rows: by tuning key a label, a first learning rate and the overrides of the row.
        tries: by tuning key and settings the runs of a try, one per seed.
        known: validation loss of each finished run by identity; None if it diverged.
    """

    actions = ("tune",)

    def run_jobs(self) -> list[dict[str, Any]]:
        """Run the missing tries of all rows, and write what was chosen.

        Raises:
            InputError: the sweep can't be tuned.
            Failure: runs failed; the tries that finished are written.
        """
        config: Any = OmegaConf.to_container(self.config, resolve=True)
        self.settings = read_action(TuneSettings, config)
        self.further = dict(config.get("tuning") or {})
        section = "action" if self.pretrains else "train"
        for key, values in self.further.items():
            own = key.startswith(f"{section}.") and key != f"{section}.lr"
            if not own or not isinstance(values, list) or not values:
                raise InputError(
                    f"tuning: {key}: {values} is not a setting that can be tuned with the learning "
                    f"rate: give {section}.NAME: [VALUE, ...]"
                )
        self.keys = (f"{section}.lr", *self.further)
        given = [o.get_key_element() for o in self.overrides]
        if clash := [key for key in self.keys if key in given]:
            raise InputError(f"action=tune chooses {', '.join(clash)} itself: leave it out")
        if not self.written:
            raise InputError("action=tune tunes the rows of a table: give +sweep=NAME")
        if getattr(self.spec, "rows_by", None) == "method":
            raise InputError(
                f"action=tune chooses the settings of rows, but each run of {self.spec.name} has a "
                f"search of its own: +sweep={self.spec.name} alone runs these"
            )
        self.path = self.results / FOLDER / f"{self.spec.name}.json"
        self._stored()
        self.known = {} if self.config.force else Rates(self.spec.name, self.results).losses()
        self.rows = self._rows()
        self.tries: dict[str, dict[tuple[Any, ...], list[Job]]] = {key: {} for key in self.rows}
        for key, (_, rate, _) in self.rows.items():
            self._add(key, grid(rate, self.settings.rates))
        jobs, pending = self._jobs(), self._pending()
        cached = len(jobs) - len(pending)
        print(f"{len(self.rows)} rows, {len(jobs)} runs, {cached} cached", flush=True)
        if self.config.plan:
            if pending:
                self.plan(pending)
            return []
        launch = self.begin(f"{self.spec.name}-tuning", list(self.rows), len(pending))
        paths = self._tune(launch)
        made = self._jobs()
        launch.store.finish_sweep(launch.parent, {"runs/finished": len(made)}, paths, ())
        return [{"record": job.record} for job in made if job.record is not None]

    def _rows(self) -> dict[str, tuple[str, float, list[str]]]:
        listed: dict[tuple[str, ...], None] = {}
        for words in combinations(self.overrides):
            own = ("action=", "action.", "seed=")
            kept = [word for word in words if not word.lstrip("+").startswith(own)]
            listed.setdefault(tuple(kept))
        seed = f"seed={self.settings.seeds[0]}"
        jobs = self.planner.jobs([*words, seed] for words in listed)
        trained = [job for job in jobs if job.planned["seed"] is not None]
        if not trained:
            raise InputError("action=tune: no row of this sweep is trained")
        records = sweep_records([job.planned for job in trained], self.spec)
        labels = {row.key: row.label for record in records for row in record.rows}
        found: dict[str, tuple[str, float, list[str]]] = {}
        for job in trained:
            words = [*(word for word in job.overrides if word != seed), *ALONE[self.pretrains]]
            train = job.planned["train"]
            if train.get("validate_every") and train["keep"] == "last":
                words.append("train.validate_every=null")
            label, rate = labels[row_key(job.planned)], float(train["lr"])
            found.setdefault(tuning_key(job.planned, self.keys), (label, rate, words))
        order = list(labels.values())
        return dict(sorted(found.items(), key=lambda item: order.index(item[1][0])))

    def _tune(self, launch: Launch) -> list[Path]:
        """Launch tries until the best of each row is inside its grid; returns the files."""
        try:
            while True:
                pending = self._pending()
                launch.run(pending, tries=1 + self.max_retries)
                self._note(pending)
                added = self._extend()
                if not added:
                    break
                named = "; ".join(added)
                print(f"best at an edge of the grid, one more rate for {named}", flush=True)
        finally:
            report = self._write()
        paths = [self.path, self.path.with_suffix(".md")]
        show(report)
        print("\n".join(map(str, paths)), flush=True)
        return paths

    def _stored(self) -> tuple[TunedRow, ...]:
        """The rows of the table's file, of earlier commands and of others that run now.

        Raises:
            InputError: they were tuned with other seeds or keys.
        """
        if not self.path.is_file():
            return ()
        stored = read_tuning(self.path)
        if (stored.seeds, stored.keys) != (tuple(self.settings.seeds), self.keys):
            raise InputError(
                f"{self.path} has {', '.join(stored.keys)} tuned on seeds {list(stored.seeds)}, "
                f"but this command tunes {', '.join(self.keys)} on seeds {self.settings.seeds}: "
                f"give action.seeds=[{','.join(map(str, stored.seeds))}], or move the file away"
            )
        return stored.rows

    def _write(self) -> Report:
        """Put the rows that are tuned into the table's file, among the others; returns its table.

        A row whose tuning was interrupted does not replace a stored one.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.results / "tuning.lock", f"the file {self.path}"):
            rows = {row.key: row for row in self._stored()}
            rows |= {r.key: r for r in self._rows_tried() if r.key not in rows or not self._next(r)}
            tuning = Tuning(
                self.spec.name, tuple(self.settings.seeds), self.keys, tuple(rows.values())
            )
            report = table_of(tuning)
            write_json(self.path, tuning.to_json())
            write_text(self.path.with_suffix(".md"), to_markdown(report))
        return report

    def _next(self, row: TunedRow) -> float | None:
        """The rate to try next for a row whose best is at an edge."""
        rates = {tried.rate for tried in row.tries}
        if not row.edge or len(rates) >= self.settings.rates + self.settings.more:
            return None
        return next_rate(sorted(rates), row.edge)

    def _extend(self) -> list[str]:
        """Add a rate to each row whose best is at an edge; returns what was added, in words."""
        added = []
        for row in self._rows_tried():
            if rate := self._next(row):
                self._add(row.key, [rate])
                added.append(f"{row.label}: {rate:g}")
        return added

    def _add(self, key: str, rates: Sequence[float]) -> None:
        words = self.rows[key][2]
        points = list(product(rates, *self.further.values()))
        seeds = [f"seed={seed}" for seed in self.settings.seeds]
        planned = self.planner.jobs(
            [*words, *as_overrides(dict(zip(self.keys, point, strict=True))), seed]
            for point in points for seed in seeds
        )  # fmt: skip
        if not self.pretrains:
            for job in planned:
                VALIDATION_LOSS.check(job.settings)
        self._note([job for job in planned if job.record is not None])
        for number, point in enumerate(points):
            self.tries[key][point] = planned[number * len(seeds) : (number + 1) * len(seeds)]

    def _jobs(self) -> list[Job]:
        """All different runs that are planned."""
        return different(j for by in self.tries.values() for jobs in by.values() for j in jobs)

    def _pending(self) -> list[Job]:
        """Those without a result."""
        return [j for j in self._jobs() if j.record is None and j.identity not in self.known]

    def _note(self, jobs: Sequence[Job]) -> None:
        """Store the results of launched runs.

        Raises:
            Failure: one failed for another reason than a loss that is not finite.
        """
        failed = []
        for job in jobs:
            if job.record is not None:
                try:
                    self.known[job.identity] = VALIDATION_LOSS.value(job.record)
                except FloatingPointError:
                    self.known[job.identity] = None
            elif job.diverged:
                self.known[job.identity] = None
            else:
                failed.append(job)
        if failed:
            raise Failure(failure_lines(failed))

    def _rows_tried(self) -> list[TunedRow]:
        """The rows whose tries all have a result."""
        rows = []
        for key, tries in self.tries.items():
            jobs = [job for of_try in tries.values() for job in of_try]
            if all(job.identity in self.known for job in jobs):
                made = tuple(
                    Try(
                        dict(zip(self.keys, point, strict=True)),
                        tuple(self.known[job.identity] for job in of_try),
                        tuple(job.identity for job in of_try),
                    )
                    for point, of_try in sorted(tries.items())
                )
                rows.append(TunedRow(key, self.rows[key][0], made))
        return rows


def tune(config: dict[str, Any]) -> dict[str, Any]:
    """Refuse action=tune outside of a sweep."""
    raise InputError(
        "action=tune tunes the rows of a table: give +sweep=NAME, one that has a table"
    )


def table_of(tuning: Tuning) -> Report:
    """The tries as a table: rows x learning rates, and what was chosen."""
    rates = sorted({tried.rate for row in tuning.rows for tried in row.tries})
    rows = []
    for row in tuning.rows:
        best = row.best
        by_rest: dict[str, dict[str, Cell]] = {}
        for tried in row.tries:
            rest = {key: tried.settings[key] for key in tuning.keys[1:]}
            named = ", ".join(f"{k.rpartition('.')[2]} {v}" for k, v in rest.items())
            cell = Cell("diverged") if tried.loss == float("inf") else Cell(f"{tried.loss:.4f}")
            cells = by_rest.setdefault(named, {})
            cells[f"{tried.rate:g}"] = cell
            if tried is best:
                place = "" if row.edge == 0 else ", at the edge"
                cells["chosen"] = Cell(f"{best.rate:g}{place}")
        rows += [
            Row((row.label + (f" ({named})" if named else ""),), cells)
            for named, cells in by_rest.items()
        ]
    columns = [Column(f"{rate:g}", f"{rate:g}", "text") for rate in rates]
    columns.append(Column("chosen", "Chosen", "text"))
    unit = (
        "bits per byte of the validation documents"
        if "action.lr" in tuning.keys
        else "validation loss"
    )
    notes = (
        f"Mean {unit} at the end of training over "
        f"{seeds_label(tuning.seeds)}, by learning rate. The lowest is chosen.",
    )
    table = Table("tuning", "", tuple(columns), tuple(rows), ("Row",), notes)
    return Report(tuning.sweep, f"Learning rates of {tuning.sweep}", {}, (table,))
