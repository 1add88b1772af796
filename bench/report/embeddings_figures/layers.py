"""The inputs of a model's layers, block by block: norms and what they imply for the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.report.embeddings.layers import by_input
from bench.report.figure import Figure, line_grid, look
from bench.report.theme import SHAPES, Look, method_looks

Models = Sequence[Mapping[str, Any]]


def layers(models: Models) -> Figure | None:
    """A row of panels for each quantity, a panel for each kind of layer, a line for each model.

    Layers with the same inputs share a panel. None if no layer was measured, or all are zero.
    """
    models = [model for model in models if model["layers"]]
    if not models:
        return None
    first = models[0]["layers"]
    curvatures = sorted({gate["curvature"] for gate in first[0]["gates"]})
    curvatures = curvatures[:: max(1, len(curvatures) - 1)]
    found: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for kind in by_input(first):
        for model in models:
            for layer in model["layers"]:
                for key, when, value in (
                    _quantities(layer, curvatures) if layer["module"] in kind.split(", ") else ()
                ):
                    if value is not None and value > 0:
                        point = (model["model"], kind, layer["block"], when)
                        found.setdefault(point, {}).setdefault(key, []).append(value)
    if not found:
        return None
    names = ("model", "module", "block", "when")
    facts = [
        dict(zip(names, point, strict=True)) | {key: fmean(each) for key, each in values.items()}
        for point, values in found.items()
    ]
    titles = {"rms": "|x|/√d: mean (dashed, hollow: largest)"}
    for place, curvature in enumerate(curvatures):
        title = f"coefficient of variation of the gate at B = 0, K = {curvature:g}"
        titles[f"variation_{place}"] = title
    titles["K"] = "K from δ (dashed, hollow: mean K of the adapter)"
    looks = look("model", _looks(models))
    chart = line_grid(facts, titles, "block", 4, looks, 75)
    caption = (
        f"Over {first[0]['tokens']:,} tokens of prompts; |x|/√d: root mean square of an input; "
        "coefficient of variation: standard deviation / mean. Logarithmic scales."
    )
    return Figure("layers", "Inputs of the layers", caption, chart, 160 * len(titles))


def _quantities(
    layer: Mapping[str, Any], curvatures: Sequence[float]
) -> list[tuple[str, str, float | None]]:
    """What is drawn of a layer: the field, the kind of line and the value."""
    gates = {gate["curvature"]: gate["variation"] for gate in layer["gates"]}
    return [
        ("rms", "solid", layer["rms_mean"]),
        ("rms", "dashed", layer["rms_largest"]),
        *((f"variation_{i}", "solid", gates.get(K)) for i, K in enumerate(curvatures)),
        ("K", "solid", layer["data_curvature"]),
        ("K", "dashed", layer["adapter_curvature"]),
    ]


def _looks(models: Models) -> dict[str, Look]:
    """Each model's look: its method's; further models of a method have another shape."""
    of_method = method_looks(model["method"] for model in models)
    found: dict[str, Look] = {}
    for model in models:
        colour, shape = of_method[model["method"]]
        free = (other for other in (shape, *SHAPES) if (colour, other) not in found.values())
        found[model["model"]] = (colour, next(free, shape))
    return found
