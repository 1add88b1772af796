"""Tables of the inputs of a model's layers: norms, their variation, and delta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.report.tables import Cell, Column, Row, Table

Layers = Sequence[Mapping[str, Any]]


def layer_tables(models: Sequence[Mapping[str, Any]]) -> list[Table]:
    """The base's layers by module type, after fine-tuning, and the adapters' K."""
    if not models:
        return []
    tables = [_base_table(models[0]["layers"])]
    if len(models) > 1:
        tables.append(_tuned_table(models))
    adapted = [m for m in models if any(x["adapter_curvature"] is not None for x in m["layers"])]
    return [*tables, *([_curvature_table(models[0], adapted)] if adapted else [])]


def by_input(layers: Layers) -> dict[str, Layers]:
    """Layers by module type; types with the same inputs, such as q, k and v, are one."""
    found: dict[tuple[float, ...], list[str]] = {}
    modules = by_module(layers)
    for module, members in modules.items():
        found.setdefault(tuple(layer["rms_mean"] for layer in members), []).append(module)
    return {", ".join(names): modules[names[0]] for names in found.values()}


def by_module(layers: Layers) -> dict[str, Layers]:
    """Layers by the last part of their name."""
    modules = dict.fromkeys(layer["module"] for layer in layers)
    return {module: [x for x in layers if x["module"] == module] for module in modules}


def mean_variation(layers: Layers) -> float:
    """Coefficient of variation of the norms within a layer, mean over layers."""
    return fmean(layer["rms_variation"] for layer in layers)


def _base_table(base: Layers) -> Table:
    gates = [gate["curvature"] for gate in base[0]["gates"]]
    columns = (
        Column("rms_mean", "Norm", ".2f"),
        Column("rms_variation", "Variation", ".2f", show="range"),
        Column("rms_largest", "Largest", ".1f"),
        *(Column(f"gate_{K:g}", f"Gate, K={K:g}", ".2g") for K in gates),
        Column("delta", "Relative delta", ".2f", show="range"),
    )
    rows = []
    for module, layers in by_input(base).items():
        cells = {
            "rms_mean": Cell(fmean(layer["rms_mean"] for layer in layers)),
            "rms_variation": _range(layers, "rms_variation"),
            "rms_largest": Cell(max(layer["rms_largest"] for layer in layers)),
            "delta": _range(layers, "delta"),
        }
        for i, K in enumerate(gates):
            cells[f"gate_{K:g}"] = Cell(fmean(layer["gates"][i]["variation"] for layer in layers))
        rows.append(Row((module,), cells))
    tokens = max(layer["tokens"] for layer in base)
    notes = (
        f"Norm: |x| / √d of a token in a layer's input, mean over {tokens:,} tokens and over "
        "layers. Variation: standard deviation divided by the mean within a layer; mean over "
        "layers, smallest and largest in brackets.",
        "Gate: the same variation of HypLoRA's gate at the start of training (B = 0). If it is "
        "near 0, HypLoRA starts as LoRA with another alpha.",
        "Relative delta: from the first token, mean over prompts.",
    )
    heading = "Norms of the inputs of the base's layers"
    return Table("layers", heading, columns, tuple(rows), ("Input of",), notes)


def _tuned_table(models: Sequence[Mapping[str, Any]]) -> Table:
    groups = list(by_input(models[0]["layers"]))
    rows = []
    for model in models:
        modules = by_module(model["layers"])
        first = {group: modules.get(group.partition(",")[0]) for group in groups}
        cells = {group: Cell(mean_variation(own)) for group, own in first.items() if own}
        rows.append(Row((model["model"],), cells))
    columns = tuple(Column(group, group, ".2f") for group in groups)
    notes = ("Variation of the norms of a layer's inputs, as above, mean over layers.",)
    heading = "Variation of norms after fine-tuning"
    return Table("tuned_layers", heading, columns, tuple(rows), ("Model",), notes)


def _curvature_table(base: Mapping[str, Any], adapted: Sequence[Mapping[str, Any]]) -> Table:
    shown = [("of the data", base["layers"], "data_curvature")]
    shown += [(m["model"], m["layers"], "adapter_curvature") for m in adapted]
    modules = by_module(base["layers"])
    rows = tuple(
        Row((name,), {m: _range([x for x in layers if x["module"] == m], key) for m in modules})
        for name, layers, key in shown
    )
    columns = tuple(Column(module, module, ".2f", show="range") for module in modules)
    notes = (
        "Of the data: (δ / 0.144)² of the relative delta of the base's layer inputs, which "
        "curvature=auto takes. Below: the adapters', as given or as trained. Mean over layers, "
        "smallest and largest in brackets.",
    )
    return Table("layer_curvatures", "Curvature K by layer", columns, rows, ("K",), notes)


def _range(layers: Layers, key: str) -> Cell:
    """Mean over layers, with the smallest and the largest if they differ."""
    known = [layer[key] for layer in layers if layer[key] is not None]
    if not known:
        return Cell()
    least, most = min(known), max(known)
    if f"{least:.2f}" == f"{most:.2f}":
        return Cell(fmean(known))
    return Cell(fmean(known), low=least, high=most)
