"""Imports point one way: no cycles, and no layer imports one above it.

All imports count: inside functions and under TYPE_CHECKING, too, since a module can't be read or
moved without what it names. The registry of actions imports by name: its targets count as well.
Importing a module also runs the __init__.py of its package: from outside of the package, an edge.
"""

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from bench.actions import ACTIONS
from bench.config import PROJECT

# A module may import its own layer and those below it.
LAYERS = [
    {"errors", "fields", "files", "memory", "names", "progress"},
    {"tasks", "geometry", "tracking"},
    {"data", "models", "methods", "report"},
    {"config", "identity", "runs", "training", "evaluation", "efficiency", "embeddings"},
    {"experiment", "pretraining"},
    {"sweep"},
    {"actions", "export", "protocol", "records"},
    {"run"},
]
# They know records, not what makes them.
RECORDS = {
    "tracking": {"errors", "files", "names", "progress"},
    "report": {"errors", "files", "names", "progress", "tracking"},
}
TRAINS = set().union(*LAYERS[1:5]) - set(RECORDS)
MAY_IMPORT_HYDRA = {"run", "config", "sweep"}
OF_RUNS = {"hydra", "omegaconf", "mlflow", "optuna", "lm_eval"}


def modules():
    found = {}
    for path in sorted((PROJECT / "bench").rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path, at_start=False):
    """The names that a module imports: all, or those that it imports when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if at_start else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(module):
    """The packages that a module is in."""
    parts = module.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts))}


@pytest.fixture(scope="module")
def edges():
    """Imports within bench, by module."""
    known = modules()
    found = {}
    for module, path in known.items():
        named = {n if n in known else n.rpartition(".")[0] for n in imported(path)}
        named |= {p for n in named for p in packages(n) if not module.startswith(f"{p}.")}
        found[module] = {n for n in named if n in known} - {module}
    found["bench.actions"] |= {target.partition(":")[0] for target in ACTIONS.values()}
    return found


def package(module):
    """The part of the layers that a module belongs to; an action's body belongs to the actions."""
    _, *rest = module.split(".")
    return "actions" if rest[1:] == ["action"] else rest[0] if rest else ""


def across(edges):
    """Imports between packages: (importing module, imported module)."""
    pairs = {(module, name) for module, names in edges.items() for name in names}
    return {(a, b) for a, b in pairs if package(a) != package(b)}


def test_no_module_imports_itself_through_others(edges):
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_layer_imports_one_above_it(edges):
    ranks = {name: rank for rank, layer in enumerate(LAYERS) for name in layer} | {"": 0}
    above = [(a, b) for a, b in across(edges) if ranks[package(a)] < ranks[package(b)]]
    assert not above


def test_tracking_and_report_know_records_only(edges):
    more = [
        (a, b) for a, b in across(edges) if package(b) not in RECORDS.get(package(a), {package(b)})
    ]
    assert not more


def test_nothing_that_trains_imports_the_report(edges):
    assert not [(a, b) for a, b in across(edges) if package(a) in TRAINS and package(b) == "report"]


def test_only_the_command_and_the_sweeps_import_hydra():
    found = {
        package(module)
        for module, path in modules().items()
        for name in imported(path)
        if name.partition(".")[0] in ("hydra", "omegaconf")
    }
    assert found <= MAY_IMPORT_HYDRA


def test_training_and_measuring_start_without_the_dependencies_of_runs():
    """Only imports of bench are followed, not those of Lightning or peft."""
    known, seen = modules(), set()
    waiting = ["efficiency.__main__", "training.finetune", "training.adapters", "data.sources"]
    waiting = [f"bench.{name}" for name in (*waiting, "evaluation.evaluate", "models.loading")]
    while waiting:
        module = waiting.pop()
        module = module if module in known else module.rpartition(".")[0]
        if module in known and module not in seen:
            seen.add(module)
            names = set(imported(known[module], at_start=True))
            assert not {name.partition(".")[0] for name in names} & OF_RUNS, module
            waiting += names | packages(module)
    assert len(seen) > 50


def test_only_the_registry_names_an_action(edges):
    bodies = {target.partition(":")[0] for target in ACTIONS.values()}
    named = {b for module, names in edges.items() if module != "bench.actions" for b in names}
    assert not bodies & named
