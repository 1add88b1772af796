"""Tables of what each layer of a model is given: where the norms vary, and how tree-like it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.layout import EMPTY, Section

Report = Mapping[str, Any]
Layers = Sequence[Mapping[str, Any]]


def layer_sections(report: Report) -> list[Section]:
    """The base's layers by module type, and what fine-tuning made of them; none if not measured."""
    models = report["layers"]
    if not models:
        return []
    return [_of_base(models[0]), *([_of_all(models)] if len(models) > 1 else [])]


def _of_base(base: Mapping[str, Any]) -> Section:
    by_module = _by_module(base["layers"])
    curvatures = [gate["curvature"] for gate in base["layers"][0]["gates"]]
    rows = [
        (
            module,
            str(len(layers)),
            f"{_mean(layers, 'rms_mean'):.3g}",
            _range(layers, "rms_variation", ".2g"),
            f"{max(layer['rms_largest'] for layer in layers):.3g}",
            *(
                f"{sum(layer['gates'][i]['variation'] for layer in layers) / len(layers):.2g}"
                for i in range(len(curvatures))
            ),
            _range(layers, "delta", ".2f"),
            _range(layers, "data_curvature", ".2f"),
        )
        for module, layers in by_module.items()
    ]
    header = (
        *("Module", "Layers", "Norm", "Variation", "Largest"),
        *(f"Gate, K={K:g}" for K in curvatures),
        *("Relative delta", "K of the data"),
    )
    notes = (
        "Norm: of a token of the layer's input, |x| / √d; mean over tokens and layers. Variation: "
        "its standard deviation over its mean within a layer; mean over layers, and in brackets "
        "the least and the most.",
        "Gate: the same variation of HypLoRA's gate as training finds it (B = 0). Where it is near "
        "0, HypLoRA starts as LoRA with another alpha.",
        "K of the data: (δ / 0.144)² of the relative delta from the first token, what "
        "curvature=auto takes.",
    )
    return Section("Where the norms vary: inputs of the base's layers", header, tuple(rows), notes)


def _of_all(models: Sequence[Mapping[str, Any]]) -> Section:
    modules = list(_by_module(models[0]["layers"]))
    rows = []
    for model in models:
        by_module = _by_module(model["layers"])
        rows.append(
            (
                model["model"],
                *(
                    f"{_mean(by_module[module], 'rms_variation'):.2g}"
                    if module in by_module
                    else EMPTY
                    for module in modules
                ),
                *(_range(by_module.get(m, ()), "adapter_curvature", ".2f") for m in modules[-1:]),
            )
        )
    header = ("Model", *modules, f"K of the adapter, {modules[-1]}")
    notes = (
        "Variation of the norms of a layer's inputs, as above, mean over layers. K of the adapter: "
        "given, or learned in training.",
    )
    return Section("Where the norms vary, after fine-tuning", header, tuple(rows), notes)


def _by_module(layers: Layers) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for layer in layers:
        found.setdefault(layer["module"], []).append(layer)
    return found


def _mean(layers: Layers, key: str) -> float:
    return sum(layer[key] for layer in layers) / len(layers)


def _range(layers: Layers, key: str, form: str) -> str:
    """Mean over layers, with the least and the most where there are several."""
    values = [layer[key] for layer in layers if layer[key] is not None]
    if not values:
        return EMPTY
    mean, least, most = (
        format(value, form) for value in (sum(values) / len(values), min(values), max(values))
    )
    return mean if least == most else f"{mean} [{least}, {most}]"
