"""The grid behind `-m` and `+sweep=NAME`: run all, tell what failed, make the table."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf

from bench.errors import Failure, InputError

if TYPE_CHECKING:
    from bench.report import Published, TableSpec

JOBS = "HYPLORA_BENCH_JOBS"  # how many runs the sweep at work has


class GridSweeper(Sweeper):
    """Hydra's grid, but one failing run hides neither the others' results nor its own name."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to a sweeper before it calls `sweep`."""
        from hydra.core.plugins import Plugins

        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[dict[str, Any]]:
        """Run every combination and return the outcomes of those that succeeded.

        Args:
            arguments: overrides of the command line; they win over the sweep file's `params`.

        Raises:
            Failure: some runs failed, after the table of the others has been shown; or the
                table can't be made.
            InputError: every run was refused.
        """
        # Not a base class: Hydra executes its own plugins' modules anew when it looks for plugins,
        # and a class of the first execution is no subclass of the second's.
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        from bench.progress import duration

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        params = [f"{key}={values}" for key, values in self.params.items()]
        overrides = parser.parse_overrides([*params, *arguments])
        table = table_of(self.config)
        (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        self.validate_batch_is_legal(jobs)
        swept = sorted({o.get_key_element() for o in overrides if o.is_sweep_override()})
        over = f" over {', '.join(swept)}" if swept else ""
        print(f"{len(jobs)} run{'s' if len(jobs) > 1 else ''}{over}", flush=True)
        os.environ[JOBS] = str(len(jobs))  # workers inherit it

        began = time.perf_counter()
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        failed = [(job, r) for job, r in zip(jobs, returns, strict=True) if _failed(r)]
        outcomes = [r.return_value for r in returns if not _failed(r)]
        if not outcomes and all(isinstance(r._return_value, InputError) for r in returns):
            raise InputError(_tell(failed))
        records = {o["record"]["identity"]: o["record"] for o in outcomes if "record" in o}
        fresh = {o["record"]["identity"] for o in outcomes if not o.get("found", True)}
        print(
            f"{len(jobs)} combinations, {len(records)} different runs: {len(fresh)} done now, "
            f"{len(records) - len(fresh)} on record already, {len(failed)} failed; "
            f"{duration(time.perf_counter() - began)}",
            flush=True,
        )
        told = show_table(list(records.values()), *table) if records else None
        if failed:
            raise Failure(_tell(failed))
        if told:
            raise Failure(told)
        return outcomes


def place_in_sweep() -> str:
    """`[4/9] ` in the fourth of nine runs of a sweep; empty in a single run."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or JOBS not in os.environ:
        return ""
    return f"[{hydra.job.num + 1}/{os.environ[JOBS]}] "


def table_of(config: DictConfig) -> tuple[TableSpec, Published | None, Path | None]:
    """The table that a sweep file's `table:` asks for, and the folder that it is written to.

    Read before anything runs. A grid without a sweep file has a table too, shown but not written.

    Raises:
        InputError: the spec or the published figures that it names can't be used.
    """
    from bench.config import results_folder
    from bench.report import TableSpec, load_published

    named = OmegaConf.select(config, "table")
    if named is None:
        return TableSpec(name="sweep", title="Runs of this sweep"), None, None
    try:
        spec = TableSpec.from_mapping(OmegaConf.to_container(named))
        published = load_published(spec.published) if spec.published else None
    except ValueError as error:
        raise InputError(f"table: {error}") from error
    return spec, published, results_folder(config.tracking.folder) / "tables"


def show_table(
    records: list[dict[str, Any]],
    spec: TableSpec,
    published: Published | None,
    folder: Path | None,
) -> str | None:
    """Print the runs of a sweep as a table and write it, where there is a folder to write it to.

    Returns:
        Why a table that was to be written can't be made; None where all is well.
    """
    from bench.report import build, draw, print_table, write

    try:
        table = build(records, spec, published)
    except ValueError as error:
        print(f"no table: {error}")
        return f"the table {spec.name} can't be made of these runs: {error}" if folder else None
    print_table(table)
    if folder:
        for path in (*write(table, folder), *draw(table, records, spec, folder.parent / "figures")):
            print(path)
    return None


def _failed(result: JobReturn) -> bool:
    return result.status != JobStatus.COMPLETED


def _tell(failed: Sequence[tuple[Sequence[str], JobReturn]]) -> str:
    lines = [f"{len(failed)} runs failed:"]
    for job, result in failed:
        error = result._return_value
        lines.append(f"  {' '.join(job)}: {type(error).__name__}: {error}")
    return "\n".join(lines)
