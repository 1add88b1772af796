"""Labels of methods and seeds, and the order of the methods."""

from __future__ import annotations

import math
from collections.abc import Sequence

LABELS = {
    "none": "base model",
    "prefix": "Prefix",
    "series": "Series",
    "parallel": "Parallel",
    "lora": "LoRA",
    "lora again": "LoRA again",
    "dora": "DoRA",
    "lora_matched": "LoRA (matched)",
    "hyplora": "HypLoRA",
    "hyplora_authors": "HypLoRA (authors' code)",
    "hyplora_authors_simplified": "HypLoRA (authors' simplified)",
}
ORDER = ("none", "prefix", "series", "parallel", "lora", "dora", "lora_matched", "hyplora")


def seeds_label(seeds: Sequence[int]) -> str:
    """Such as `seed 3` or `seeds 0, 2`."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def method_label(
    method: str, curvature: float | str | None = None, details: Sequence[str] = ()
) -> str:
    """What a table calls a method, such as `LoRA`, `HypLoRA (boost)` or `HypLoRA (K=0.1)`.

    A method without a label keeps its key. K is named if given: several rows then share the method.
    """
    label = LABELS.get(method, method)
    named = []
    if method not in LABELS and method.startswith("hyplora_"):
        label = LABELS["hyplora"]
        named.append(method.removeprefix("hyplora_").replace("_", " "))
    if curvature is not None:
        named.append(curvature_label(curvature))
    if label.endswith(")") and (named or details):  # "LoRA (matched)" and more
        label, _, first = label[:-1].partition(" (")
        named.insert(0, first)
    named += details
    return f"{label} ({', '.join(named)})" if named else label


def curvature_label(curvature: float | str) -> str:
    """`K=0.1`; `K=auto` for one that was measured."""
    return f"K={curvature if isinstance(curvature, str) else float(curvature)}"


def plain_curvature(curvature: float | str) -> str:
    """`0.5`, `1` or `auto`."""
    return curvature if isinstance(curvature, str) else f"{curvature:g}"


def curvature_rank(curvature: float | str | None) -> float:
    """Sorting key: none, then the numbers, then `auto`."""
    return math.inf if isinstance(curvature, str) else curvature or 0.0


def method_rank(method: str) -> tuple[int, str]:
    """Sorting key: the paper's order, then HypLoRA's variants by name, then all others as given."""
    if method in ORDER:
        return ORDER.index(method), ""
    if method.startswith("hyplora"):
        return len(ORDER), method
    return len(ORDER) + 1, ""


def key_of(name: str) -> str:
    """A benchmark's key as compared: case does not count (`gsm8k` is `GSM8K`)."""
    return name.casefold()


MODELS = {
    "helm_d": "HELM-D",
    "helm_mice": "HELM-MiCE",
    "llama_twin": "LLaMA",
    "deepseek_twin": "DeepSeek-V3",
    "llama_twin_matched": "LLaMA (matched)",
    "deepseek_twin_matched": "DeepSeek-V3 (matched)",
}


def model_label(model: str) -> str:
    """The label of a pretrained model in reports; an unknown one keeps its name."""
    return MODELS.get(model, model)
