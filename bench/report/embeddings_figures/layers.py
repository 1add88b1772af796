"""Where the norms vary: what the layers of a model are given, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.report.embeddings_figures.legend import shared_legend
from bench.report.style import WIDE, head, log_scale, method_styles, name_axis, new_figure, tidy

MARKED = 8  # points of a line that have a marker, about
MARKERS = "svP^<>Xo"
Layer = Mapping[str, Any]
Value = Callable[[Layer], float | None]


def layers(models: Sequence[Mapping[str, Any]]) -> Any:
    """A row of panels for each quantity, a column for each kind of layer, a line for each model.

    Layers that are given the same share a column. None where no layer was looked at.
    """
    models = [model for model in models if model["layers"]]
    if not models:
        return None
    kinds = _kinds(models)
    quantities = dict(_quantities(models))
    figure = new_figure(WIDE, 1.0 + 1.25 * len(quantities))
    grid = figure.subplots(len(quantities), len(kinds), sharex=True, sharey="row", squeeze=False)
    blocks = 1 + max(layer["block"] for model in models for layer in model["layers"])
    marks = {"markersize": 3, "markevery": max(1, blocks // MARKED), "linewidth": 0.8}
    styles = dict(zip((m["model"] for m in models), _styles(models), strict=True))
    for axis, modules in zip(grid[0], kinds, strict=True):
        tidy(axis, "\n".join(modules))
    for axes, (title, (filled, hollow)) in zip(grid, quantities.items(), strict=True):
        drawn: list[float] = []
        for axis, modules in zip(axes, kinds, strict=True):
            for model in models:
                colour, marker = styles[model["model"]]
                look = {"color": colour, "marker": marker, **marks}
                points = _points(model["layers"], modules, filled)
                axis.plot(*points, **look, label=model["model"])
                others = _points(model["layers"], modules, hollow) if hollow else ((), ())
                axis.plot(*others, **look | {"mfc": "none", "linestyle": ":"})
                drawn += [*points[1], *others[1]]
            tidy(axis, axis.get_title())
            axis.xaxis.get_major_locator().set_params(integer=True)
        log_scale(axes[0], drawn)
        name_axis(axes[0], y=title)
    for axis in grid[-1]:
        name_axis(axis, x="block")
    shared_legend(figure, grid[0][:1])
    tokens = models[0]["layers"][0]["tokens"]
    head(figure, f"What the layers are given, over {tokens:,} tokens of prompts; CV: sd / mean")
    return figure


def _quantities(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[Value, Any]]]:
    """What is drawn: its name, what is drawn filled and what is drawn hollow beside it."""
    yield "|x|/√d: mean\n(hollow: largest)", (_key("rms_mean"), _key("rms_largest"))
    curvatures = sorted({gate["curvature"] for gate in models[0]["layers"][0]["gates"]})
    for curvature in curvatures[:: max(1, len(curvatures) - 1)]:
        yield f"CV of the gate\nat B=0, K={curvature:g}", (_variation(curvature), None)
    yield "K from δ\n(hollow: adapter's)", (_key("data_curvature"), _key("adapter_curvature"))


def _key(name: str) -> Value:
    return lambda layer: layer[name]


def _variation(curvature: float) -> Value:
    return lambda layer: next(
        (gate["variation"] for gate in layer["gates"] if gate["curvature"] == curvature), None
    )


def _points(
    given: Sequence[Layer], modules: Sequence[str], value: Value
) -> tuple[list[int], list[float]]:
    """Blocks and values, of the first of the modules that has one that a log scale can show."""
    found: dict[int, float] = {}
    for layer in given:
        of_layer = value(layer) if layer["module"] in modules else None
        if of_layer is not None and of_layer > 0:
            found.setdefault(layer["block"], of_layer)
    return list(found), list(found.values())


def _kinds(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The types of layer in the model's order, those with the same inputs together."""
    kinds: dict[tuple[float, ...], dict[str, None]] = {}
    given = models[0]["layers"]
    for module in dict.fromkeys(layer["module"] for layer in given):
        inputs = [
            value
            for layer in given
            if layer["module"] == module
            for value in (layer["block"], layer["rms_mean"], layer["rms_variation"])
        ]
        kinds.setdefault(tuple(inputs), {})[module] = None
    return [tuple(modules) for modules in kinds.values()]


def _styles(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each model's colour and marker: its method's; further ones of a method differ by marker."""
    of_method = method_styles(model["method"] for model in models)
    found: list[tuple[str, str]] = []
    for model in models:
        colour, marker = of_method[model["method"]]
        free = (look for look in (marker, *MARKERS) if (colour, look) not in found)
        found.append((colour, next(free, marker)))
    return found
