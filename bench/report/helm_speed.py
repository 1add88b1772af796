"""The part of an efficiency report that sets HELM beside Euclidean models of its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report.layout import Section

LABELS = {
    "helm_d": "HELM-D",
    "helm_mice": "HELM-MiCE",
    "llama_twin": "LLaMA",
    "deepseek_twin": "DeepSeek-V3",
}


def helm_section(found: Mapping[str, Any]) -> Section:
    """A row for each model: its time as a multiple of its twin's.

    Args:
        found: as `bench.efficiency.helm.measure_helm` gives it.
    """
    rows = []
    works = list(next(iter(found["pairs"].values()))["works"])
    for own, pair in found["pairs"].items():
        twin = pair["twin"]
        for name in (twin, "again", own):
            kind = twin if name == "again" else name
            label = LABELS[kind] + ", again" * (name == "again")
            times = [_cell(pair["works"][work][name], name == twin) for work in works]
            size = f"{pair['parameters'][kind]:,}"
            rows.append((label, *times, f"{pair['cached'][kind]:,}", size))
    notes = (
        f"Models of the size {found['size']} with {found['vocabulary']:,} tokens in "
        f"{found['dtype']}; a step is of {found['batch']} x {found['tokens']} tokens, forward, "
        "backward and AdamW over all weights; decode is one token behind so many.",
        "A twin's row has its time, the others multiples of it: median over "
        f"{found['rounds']} rounds in a new random order each, quartiles in brackets. A twin again "
        "is beside itself, so what it differs from 1 by is noise.",
        "Cached: numbers that a cache holds for each token, all layers together. DeepSeek-V3's is "
        "of latents as well, and transformers expands all of them at each token.",
    )
    header = ("Model", *works, "Cached", "Parameters")
    return Section("HELM beside its Euclidean twins", header, tuple(rows), notes)


def _cell(timing: Mapping[str, float], is_twin: bool) -> str:
    if is_twin:
        seconds = timing["seconds"]
        return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
    return f"{timing['ratio']:.2f} [{timing['ratio_low']:.2f}, {timing['ratio_high']:.2f}]"
