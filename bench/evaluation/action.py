"""action=lm_eval_tasks: the test sets as task files for lm-eval."""

from __future__ import annotations

from typing import Any

from bench.config import from_project, read_experiment
from bench.data.sources import load_problems
from bench.evaluation.lm_eval_tasks import write_tasks


def lm_eval_tasks(config: dict[str, Any]) -> dict[str, Any]:
    """Write the task files."""
    experiment = read_experiment(config)
    tests = load_problems(experiment.data, trained=False).tests
    folder = from_project(config["action"]["folder"])
    names = write_tasks(tests, experiment.protocol, folder)
    return {"summary": f"{', '.join(names)} -> {folder}"}
