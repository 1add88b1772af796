"""Tables of what each layer of a model is given: where the norms vary, and how tree-like it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.layout import EMPTY, Section

Report = Mapping[str, Any]
Layers = Sequence[Mapping[str, Any]]


def layer_sections(report: Report) -> list[Section]:
    """The base's layers by module type, what fine-tuning made of them, and the adapters' K."""
    models = report["layers"]
    if not models:
        return []
    sections = [_of_base(models[0])]
    if len(models) > 1:
        sections.append(_of_all(models))
    adapted = [m for m in models if any(x["adapter_curvature"] is not None for x in m["layers"])]
    return [*sections, *([_curvatures(models[0], adapted)] if adapted else [])]


def by_input(layers: Layers) -> dict[str, list[Mapping[str, Any]]]:
    """Layers by module type; types that are given the same, such as q, k and v, are one."""
    found: dict[tuple[float, ...], list[str]] = {}
    modules = by_module(layers)
    for module, members in modules.items():
        found.setdefault(tuple(layer["rms_mean"] for layer in members), []).append(module)
    return {", ".join(names): modules[names[0]] for names in found.values()}


def by_module(layers: Layers) -> dict[str, list[Mapping[str, Any]]]:
    """Layers by the last part of their name."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for layer in layers:
        found.setdefault(layer["module"], []).append(layer)
    return found


def mean_variation(layers: Layers) -> float:
    """Of the norms within a layer, mean over layers."""
    return sum(layer["rms_variation"] for layer in layers) / len(layers)


def _of_base(base: Mapping[str, Any]) -> Section:
    curvatures = [gate["curvature"] for gate in base["layers"][0]["gates"]]
    rows = [
        (
            module,
            f"{sum(layer['rms_mean'] for layer in layers) / len(layers):.2f}",
            _range([layer["rms_variation"] for layer in layers], ".2f"),
            f"{max(layer['rms_largest'] for layer in layers):.1f}",
            *(
                f"{sum(layer['gates'][i]['variation'] for layer in layers) / len(layers):.2g}"
                for i in range(len(curvatures))
            ),
            _range([layer["delta"] for layer in layers], ".2f"),
        )
        for module, layers in by_input(base["layers"]).items()
    ]
    header = (
        *("Into", "Norm", "Variation", "Largest"),
        *(f"Gate, K={K:g}" for K in curvatures),
        "Relative delta",
    )
    tokens = max(layer["tokens"] for layer in base["layers"])
    notes = (
        f"Norm: |x| / √d of a token of a layer's input, mean over {tokens:,} tokens and over "
        "layers. Variation: its standard deviation over its mean within a layer; mean over layers, "
        "and in brackets the least and the most.",
        "Gate: the same variation of HypLoRA's gate as training finds it (B = 0). Where it is near "
        "0, HypLoRA starts as LoRA with another alpha.",
        "Relative delta: from the first token, mean over prompts.",
    )
    return Section("Where the norms vary: inputs of the base's layers", header, tuple(rows), notes)


def _of_all(models: Sequence[Mapping[str, Any]]) -> Section:
    groups = list(by_input(models[0]["layers"]))
    rows = []
    for model in models:
        modules = by_module(model["layers"])
        first = [modules.get(group.partition(",")[0]) for group in groups]
        rows.append(
            (model["model"], *(f"{mean_variation(own):.2f}" if own else EMPTY for own in first))
        )
    notes = ("Variation of the norms of a layer's inputs, as above, mean over layers.",)
    title = "Where the norms vary, after fine-tuning"
    return Section(title, ("Model", *groups), tuple(rows), notes)


def _curvatures(base: Mapping[str, Any], adapted: Sequence[Mapping[str, Any]]) -> Section:
    modules = by_module(base["layers"])
    rows = [("the data's", *_cells(modules, modules, "data_curvature"))]
    for model in adapted:
        own = by_module(model["layers"])
        rows.append((model["model"], *_cells(modules, own, "adapter_curvature")))
    notes = (
        "The data's: (δ / 0.144)² of the relative delta of the base's layer inputs, what "
        "curvature=auto takes. Below it the adapters', as given or as training left them. Mean "
        "over layers, and in brackets the least and the most.",
    )
    return Section("Curvature K by layer", ("K", *modules), tuple(rows), notes)


def _cells(modules: Mapping[str, Layers], own: Mapping[str, Layers], key: str) -> list[str]:
    return [_range([layer[key] for layer in own.get(module, ())], ".2f") for module in modules]


def _range(values: Sequence[float | None], form: str) -> str:
    """Mean over layers, with the least and the most where these differ."""
    known = [value for value in values if value is not None]
    if not known:
        return EMPTY
    mean, least, most = (
        format(value, form) for value in (sum(known) / len(known), min(known), max(known))
    )
    return mean if least == most else f"{mean} [{least}, {most}]"
