"""What the sweep files ask for, composed as the sweeps compose it, and the commands that run it."""

from __future__ import annotations

import copy
import functools
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.config import PROJECT, TrackingSettings, read_experiment
from bench.errors import InputError
from bench.tracking.backend import without_password

if TYPE_CHECKING:
    from bench.report.grid import Grid, GridRow
    from bench.report.pretraining import PretrainingSpec
    from bench.report.spec import TableSpec

CONF = PROJECT / "conf"
DEFAULT = "default"  # of conf/train/
SECTIONS = ("model", "data", "train", "protocol", "evaluation")
WORD = re.compile(r"[\w./:+-]+")


def table_specs() -> dict[str, TableSpec]:
    """The `table:` of every sweep file that has one, by the file's stem.

    Raises:
        InputError: a spec can't be used.
    """
    from bench.report.spec import TableSpec

    found = {}
    for path in _sweep_files():
        table = _yaml(path).get("table")
        if table:
            try:
                found[path.stem] = TableSpec.from_mapping(table)
            except ValueError as error:
                raise InputError(f"sweeps/{path.name}: {error}") from error
    return found


def pretraining_specs() -> dict[str, PretrainingSpec]:
    """The `pretraining:` of every sweep file that has one, by the file's stem.

    Raises:
        InputError: one can't be used.
    """
    from bench.report.pretraining import PretrainingSpec

    found = {}
    for path in _sweep_files():
        if given := _yaml(path).get("pretraining"):
            try:
                found[path.stem] = PretrainingSpec(**given)
            except (TypeError, ValueError) as error:
                raise InputError(f"sweeps/{path.name}: {error}") from error
    return found


def read_grids(records: Iterable[Mapping[str, Any]]) -> list[Grid]:
    """The grids of all sweep files, for the bases and the training presets that records have.

    Args:
        records: of runs.
    """
    records = list(records)
    bases = dict.fromkeys(record["model"] for record in records)
    scored = {key.casefold() for record in records for key in record["scores"]}
    specs = table_specs()
    with _composing():
        return [
            grid
            for preset in _presets(records)
            for sweep, spec in specs.items()
            for grid in _grids(sweep, spec, preset, bases, scored)
        ]


def elsewhere(tracking: TrackingSettings) -> list[str]:
    """What a command has to say of the record of runs, where it is not kept as the files say."""
    usual = _yaml(CONF / "tracking" / "default.yaml")
    given = asdict(tracking) | {"uri": without_password(tracking.uri)}
    return [f"tracking.{key}={_word(given[key])}" for key in usual if given[key] != usual[key]]


def command(
    grid: Grid,
    row: GridRow | None,
    seeds: Sequence[int],
    like: Mapping[str, Any] | None = None,
    also: Sequence[str] = (),
) -> str:
    """The command line that makes runs of a sweep, as a person types it.

    Args:
        grid: the sweep.
        row: of it; None for all.
        seeds: of those runs; none for all.
        like: the record of a run to which they are to be comparable; what tells it from the sweep
            as its file has it becomes arguments.
        also: arguments that are no part of a run.
    """
    words = [f"+sweep={grid.sweep}"]
    words += row.arguments if row else ()
    words += [f"seed={','.join(map(str, seeds))}"] if seeds else []
    words += [f"train={grid.preset}"] if grid.preset != DEFAULT else []
    if like is not None:
        words += _differences(grid, row, words, like)
    return "python bench/run.py " + " ".join(map(shlex.quote, [*words, *also]))


def _differences(
    grid: Grid, row: GridRow | None, words: Sequence[str], like: Mapping[str, Any]
) -> list[str]:
    """What to add to a command so that its runs are asked and taught what a recorded one was."""
    recorded = like.get("config") or {}
    groups = {
        "model": like["model"] if like["model"] != grid.model else None,
        "data": like["data"] if like["data"] != grid.data else None,
        "protocol": like["protocol"] if like["protocol"] != grid.protocol else None,
    }
    chosen = [
        f"{group}={name}"
        for group, name in groups.items()
        if name and (CONF / group / f"{name}.yaml").is_file()
    ]
    style = (recorded.get("protocol") or {}).get("style")
    if style and style != (recorded.get("model") or {}).get("prompt_style"):
        chosen.append(f"protocol.style={style}")
    method = row.method if row else like["method"]
    lone = [word for word in words if not word.startswith(("seed=", "method="))]
    try:
        with _composing():
            composed = _compose([*lone, *chosen, f"method={method}"])
            experiment = asdict(_experiment(composed, like["model"]))
    except (InputError, ValueError):
        return chosen
    keys = {
        f"{section}.{key}": value
        for section in SECTIONS
        for key, value in (recorded.get(section) or {}).items()
        if key in composed[section]
        and key in experiment[section]
        and value != experiment[section][key]
        # A rate is its method's own, and a name follows from the path.
        and (section, key) not in (("train", "lr"), ("protocol", "style"))
    }
    return chosen + [f"{key}={_word(value)}" for key, value in keys.items()]


def _word(value: Any) -> str:
    """A value in Hydra's words."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_word, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = str(value)
    return text if WORD.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _grids(
    sweep: str, spec: TableSpec, preset: str, bases: Iterable[str], scored: set[str]
) -> Iterator[Grid]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from bench.report.grid import Grid, GridRow
    from bench.sweep.grid import combinations

    sweeper = (_yaml(CONF / "sweep" / f"{sweep}.yaml").get("hydra") or {}).get("sweeper") or {}
    params = {} if "spaces" in sweeper else dict(sweeper.get("params") or {})
    seeds = [int(word) for word in str(params.get("seed", "0")).split(",") if word.isdigit()]
    axes = [f"{key}={words}" for key, words in params.items() if key != "seed"]
    file = [f"+sweep={sweep}", *([f"train={preset}"] if preset != DEFAULT else [])]
    try:
        home = _compose(file)
        if not scored.intersection(map(str.casefold, home["data"]["tests"])):
            return  # nothing was asked that it asks
        listed = combinations(OverridesParser.create().parse_overrides(axes)) if params else []
        composed = [(tuple(words), _compose([*file, *words])) for words in listed]
    except (HydraException, OmegaConfBaseException, InputError):
        return  # an interval, or a method that is gone: no grid that could be counted up
    for base in bases:
        rows: dict[str, GridRow] = {}
        for words, config in composed:
            experiment = _experiment(config, base)
            row = GridRow(
                method=experiment.method.name,
                trained=experiment.method.trained,
                arguments=words,
                options=experiment.method.options,
                train=asdict(experiment.train) if experiment.method.trained else {},
            )
            # A curvature makes no second run of a method that has none.
            rows.setdefault(json.dumps([row.method, row.options, row.train]), row)
        yield Grid(
            sweep=sweep,
            spec=spec,
            preset=preset,
            base=base,
            model=home["model"]["name"] or home["model"]["path"],
            data=home["data"]["source"],
            protocol=home["protocol"]["name"],
            tests=tuple(home["data"]["tests"]),
            rows=tuple(rows.values()),
            seeds=tuple(seeds),
            seeds_first=bool(params) and next(iter(params)) == "seed",
        )


def _presets(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """`default`, and what else of conf/train/ some run was trained with."""
    trained = [r["train"] for r in records if r.get("seed") is not None and r.get("train")]
    names = sorted(path.stem for path in (CONF / "train").glob("*.yaml"))
    names.sort(key=lambda name: name != DEFAULT)
    found = [DEFAULT]
    for name in names:
        if not trained:
            break
        # Of a value by names each method has its own.
        shared = {
            key: value
            for key, value in _compose([f"train={name}"])["train"].items()
            if not isinstance(value, dict) and key not in ("lr", "precision")
        }
        others = [t for t in trained if any(t.get(k, v) != v for k, v in shared.items())]
        if len(others) < len(trained) and name != DEFAULT:
            found.append(name)
        if name == DEFAULT:
            trained = others
    return found


def _experiment(config: dict[str, Any], base: str) -> Any:
    """The experiment of a composed configuration on a base of another name.

    Name alone: it is what options and learning rates are looked up by.
    """
    return read_experiment(config | {"model": config["model"] | {"name": base}})


@contextmanager
def _composing() -> Iterator[None]:
    """Where Hydra runs the command already, its configuration is at hand."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    at_work = GlobalHydra.instance().is_initialized()
    with nullcontext() if at_work else initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def _compose(words: Sequence[str]) -> dict[str, Any]:
    """The configuration of a command, resolved.

    Composing takes a tenth of a second, most of it for the choice of groups: what differs in
    values alone is composed once.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    groups = tuple(w for w in words if w.startswith("+") or (CONF / w.partition("=")[0]).is_dir())
    config = copy.deepcopy(_composed(groups))
    values = [word for word in words if word not in groups]
    for override in OverridesParser.create().parse_overrides(values):
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    return dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]


@functools.cache
def _composed(groups: tuple[str, ...]) -> Any:
    from hydra import compose

    return compose("config", list(groups))


def _sweep_files() -> list[Path]:
    return sorted((CONF / "sweep").glob("*.yaml"))


def _yaml(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
