from typing import Any

import numpy as np
import pytest

# Of the embedding study: its sets, and the sizes of what its modules are given.
STUDIED = {"mawps": "MAWPS", "SVAMP": "SVAMP"}
MODULES = {"q_proj": 1.0, "k_proj": 1.0, "o_proj": 2.0, "down_proj": 3.0}


@pytest.fixture(scope="session")
def made_study():
    """Make the embedding study's plain data, small, in the shape that the real one has.

    Of `words` and made-up ones; with an output embedding of its own where it is not `tied`.
    """
    return _study


def _study(words: tuple[str, ...] = (), tied: bool = False) -> dict[str, Any]:
    from bench.embeddings.disk import layout

    rng = np.random.default_rng(0)
    texts = [*words, *(f"w{i}" for i in range(60))]
    norms = rng.uniform(1, 2, size=len(texts))
    counts = sorted(rng.zipf(1.9, size=len(texts)).clip(max=500).tolist(), reverse=True)
    tokens = [
        {
            "id": i,
            "text": f" {text}",
            "count": count,
            "pretraining": 3 * count,
            "norm": norm,
            "norm_centred": norm,
            "output_norm": None if tied else 2 * norm,
            "output_norm_centred": None if tied else 2 * norm,
            "word": True,
            "content": bool(i % 3),
        }
        for i, (text, count, norm) in enumerate(zip(texts, counts, norms.tolist(), strict=True))
    ]
    middles = np.repeat(rng.normal(size=(8, 16)), 20, axis=0)[: len(texts)]
    directions = middles + 0.3 * rng.normal(size=middles.shape)
    vectors = directions / np.linalg.norm(directions, axis=1)[:, None] * norms[:, None]
    return {
        "model": {"name": "toy", "tied": tied},
        "frequency": [_frequency(label, counts) for label in STUDIED.values()],
        "tokens": tokens,
        "norms": _norms(tokens, ("input",) if tied else ("input", "output")),
        "spaces": [
            {"space": "tree", "exact": [0.0, 0.0]},
            {"space": "sphere", "exact": [0.97, 0.99]},
        ],
        "prompts": [{**row, "embeddings": _values(rng, 0.2)} for row in _measures(rng)],
        "hidden": [
            {**row, "model": model, "method": method, "states": _values(rng, 0.3)}
            for model, method in (("base model", "none"), ("LoRA", "lora"))
            for row in _measures(rng)
        ],
        "layers": [
            {"model": "base model", "method": "none", "layers": _layers(None)},
            {"model": "HypLoRA", "method": "hyplora", "layers": _layers(0.5)},
        ],
        "disk": layout(texts, counts, vectors),
    }


def _frequency(label: str, counts: list[int]) -> dict[str, Any]:
    pairs = [[count, counts.count(count)] for count in sorted(set(counts))]
    fit = {"gamma": 1.9, "low": 1.8, "high": 2.0, "xmin": 2}
    return {"set": label, "label": label, **fit, "counts": pairs}


def _norms(tokens: list[dict[str, Any]], roles: tuple[str, ...]) -> dict[str, Any]:
    ways = [(role, counted) for role in roles for counted in ("texts", "pretraining")]
    return {
        "groups": [{"group": "G1", "words": [t | {"word": t["text"].strip()} for t in tokens[:4]]}],
        "correlations": [
            {"role": role, "counted": counted, "centred": centred, "tokens_of": kind, "n": 60}
            | {"rho": -0.4, "low": -0.5, "high": -0.3}
            for role, counted in ways
            for centred in (False, True)
            for kind in ("all", "frequent", "content")
        ],
        "bins": [
            {"role": role, "counted": counted, "centred": False, "count": count}
            | {"quartiles": [1.2, 1.5, 1.7]}
            for role, counted in ways
            for count in (1.0, 10.0)
        ],
    }


def _measures(rng: Any) -> list[dict[str, Any]]:
    return [
        {"set": key, "label": label, "metric": metric, "base_point": base_point}
        | {"gaussian": _values(rng, 0.1), "shuffled": _values(rng, 0.15)}
        for key, label in STUDIED.items()
        for metric in ("euclidean", "cosine")
        for base_point in ("first", "all")
    ]


def _values(rng: Any, middle: float) -> list[float]:
    return (middle + 0.02 * rng.normal(size=30)).tolist()


def _layers(curvature: float | None) -> list[dict[str, Any]]:
    return [
        {
            "module": module,
            "block": block,
            "tokens": 100,
            "rms_mean": size + block,
            "rms_variation": 0.1 * size,
            "rms_largest": 2 * size + block,
            "gates": [{"curvature": K, "variation": size / K / 10} for K in (0.1, 2.0)],
            "delta": 0.2,
            "data_curvature": 1.9,
            "adapter_curvature": curvature if module == "down_proj" else None,
        }
        for block in range(3)
        for module, size in MODULES.items()
    ]
