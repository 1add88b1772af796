"""What a run can do, by the name of its file in conf/action/."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def finetune(config: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune, evaluate and record; says where the run's files are."""
    from bench.config import read_experiment
    from bench.experiment import run
    from bench.progress import duration

    outcome = run(read_experiment(config))
    record = outcome.record
    scores = ", ".join(f"{s['label']} {s['accuracy']:.1f}" for s in record["scores"].values())
    times = [record["seconds"][part] for part in ("finetune", "evaluate")]
    told = "on record already" if outcome.found else f"took {duration(sum(filter(None, times)))}"
    print(f"{outcome.name}: {scores} ({told}) -> {outcome.folder}", flush=True)
    return {"name": outcome.name, "found": outcome.found, "record": record}


def pretrain(config: dict[str, Any]) -> dict[str, Any]:
    """Make the embedded base."""
    from bench.config import PROJECT
    from bench.training.pretrain import PretrainSettings
    from bench.training.pretrain import pretrain as make

    settings = {k: v for k, v in config["action"].items() if k != "name"}
    settings["output"] = str(PROJECT / settings["output"])
    folder = make(PretrainSettings(**settings))
    print(f"embedded base -> {folder}")
    return {"name": "pretrain", "folder": str(folder)}


ACTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "finetune": finetune,
    "pretrain": pretrain,
}
