"""The inputs of a model's layers, block by block: norms and what they imply for the gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.report.figure import Figure, line_grid, look
from bench.report.theme import SHAPES, Look, method_looks

Layer = Mapping[str, Any]
Value = Callable[[Layer], float | None]


def layers(models: Sequence[Mapping[str, Any]]) -> Figure | None:
    """A row of panels for each quantity, a panel for each kind of layer, a line for each model.

    Layers with the same inputs share a panel. None if no layer was measured.
    """
    models = [model for model in models if model["layers"]]
    if not models:
        return None
    first = models[0]["layers"]
    curvatures = sorted({gate["curvature"] for gate in first[0]["gates"]})
    curvatures = curvatures[:: max(1, len(curvatures) - 1)]
    quantities: list[tuple[str, str, Value]] = [
        ("rms", "solid", lambda layer: layer["rms_mean"]),
        ("rms", "dashed", lambda layer: layer["rms_largest"]),
        *((f"variation_{i}", "solid", _variation(K)) for i, K in enumerate(curvatures)),
        ("K", "solid", lambda layer: layer["data_curvature"]),
        ("K", "dashed", lambda layer: layer["adapter_curvature"]),
    ]
    facts: dict[tuple[Any, ...], dict[str, Any]] = {}
    for modules in _kinds(first):
        for model in models:
            for layer in model["layers"]:
                for key, when, value in quantities if layer["module"] in modules else ():
                    found = value(layer)
                    if found is not None and found > 0:
                        named = {"model": model["model"], "module": ", ".join(modules)}
                        named |= {"block": layer["block"], "when": when}
                        facts.setdefault(tuple(named.values()), named).setdefault(key, found)
    looks = look("model", _looks(models))
    titles = {"rms": "|x|/√d: mean (dashed, hollow: largest)"}
    for place, curvature in enumerate(curvatures):
        title = f"coefficient of variation of the gate at B = 0, K = {curvature:g}"
        titles[f"variation_{place}"] = title
    titles["K"] = "K from δ (dashed, hollow: K of the adapter)"
    chart = line_grid(list(facts.values()), titles, "block", 4, looks, 75)
    caption = (
        f"Over {first[0]['tokens']:,} tokens of prompts; |x|/√d: root mean square of an input; "
        "coefficient of variation: standard deviation / mean. Logarithmic scales."
    )
    return Figure("layers", "Inputs of the layers", caption, chart, 160 * len(titles))


def _variation(curvature: float) -> Value:
    return lambda layer: next(
        (gate["variation"] for gate in layer["gates"] if gate["curvature"] == curvature), None
    )


def _kinds(layers: Sequence[Layer]) -> list[tuple[str, ...]]:
    """The types of layer in the model's order, those with the same inputs together."""
    inputs: dict[str, tuple[float, ...]] = {}
    for layer in layers:
        own = (layer["block"], layer["rms_mean"], layer["rms_variation"])
        inputs[layer["module"]] = inputs.get(layer["module"], ()) + own
    kinds: dict[tuple[float, ...], tuple[str, ...]] = {}
    for module, given in inputs.items():
        kinds[given] = (*kinds.get(given, ()), module)
    return list(kinds.values())


def _looks(models: Sequence[Mapping[str, Any]]) -> dict[str, Look]:
    """Each model's look: its method's; further models of a method have another shape."""
    of_method = method_looks(model["method"] for model in models)
    found: dict[str, Look] = {}
    for model in models:
        colour, shape = of_method[model["method"]]
        free = (other for other in (shape, *SHAPES) if (colour, other) not in found.values())
        found[model["model"]] = (colour, next(free, shape))
    return found
