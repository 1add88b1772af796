"""The actions: by the name of a file in conf/action/, the function that carries it out.

An action takes the resolved configuration as plain containers and returns plain data: `summary`, a
line for the terminal, and for a run its `record` and whether it was `found` in the cache. Its
module is imported only when it is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bench.errors import InputError, unknown

ACTIONS = {
    "dashboard": "bench.tracking.action:dashboard",
    "docs": "bench.report.documents:docs",
    "efficiency": "bench.efficiency.action:efficiency",
    "embeddings": "bench.embeddings.action:embeddings",
    "export": "bench.export.export:action",
    "finetune": "bench.runs.action:finetune",
    "import": "bench.records.importing:import_",
    "lm_eval_tasks": "bench.evaluation.action:lm_eval_tasks",
    "overlap": "bench.data.action:overlap",
    "pretrain": "bench.runs.action:pretrain",
    "protocol": "bench.protocol:protocol",
    "publish": "bench.records.publish:publish",
    "report": "bench.report.action:report",
    "tune": "bench.sweep.tune:tune",
    "tiny_base": "bench.training.action:tiny_base",
}
PLANNED = ("finetune", "pretrain", "tune")  # those that plan=true shows the runs of


def run_action(config: dict[str, Any]) -> dict[str, Any]:
    """Carry out the action that a resolved configuration names."""
    name = str(config["action"]["name"])
    if name not in ACTIONS:
        raise unknown("action", name, ACTIONS)
    if config.get("plan") and name not in PLANNED:
        raise InputError(f"plan=true needs action={', '.join(PLANNED)}, got {name}")
    module, _, function = ACTIONS[name].partition(":")
    return getattr(import_module(module), function)(config)
