"""Made-up records of pretraining runs."""

import numpy as np

DOCUMENTS = 60
PART = {"documents": DOCUMENTS, "bytes": 6000, "sha256": "d" * 64}


def layers(experts, similarity=0.2):
    routing = [{"block": 1, "load": [0.25] * 4, "entropy": 1.0}] if experts else []
    return {"tokens": 900, "similarity": [0.0, similarity, similarity], "routing": routing}


def made(model, seed=0, bits=2.0, **changes):
    """A run whose documents need about so many bits per byte."""
    helm, experts = model.startswith("helm"), not model.startswith(("helm_d", "llama"))
    noise = np.random.default_rng(seed).normal(0, 0.05, DOCUMENTS)
    noise += np.random.default_rng([seed, helm]).normal(0, 0.01, DOCUMENTS)
    sizes = [100.0] * DOCUMENTS
    found = [round(float(100 * (bits + n)), 3) for n in noise]
    curved = {"stream": 1.0, "model.layers.1.mlp.experts.0": 0.5} if model == "helm_mice" else {}
    training = {
        "steps": 20,
        "tokens": 2560,
        "targets": 2500,
        "passes": 0.5,
        "order": f"order of seed {seed}",
        "losses": [[0, 7.0]],
        "validation": [[10, bits + 1], [20, bits]],
        "curvatures": [[10, curved], [20, {k: 1.1 * v for k, v in curved.items()}]],
        "curvatures_at_start": curved,
        "curvatures_at_end": {k: 1.1 * v for k, v in curved.items()},
        "seconds": 10.0,
        "parameters": {"total": 1_400_000, "without_vocabulary": 1_000_000},
        "flops_a_token": 9e6,
        "flops_formula": "so many",
        "initialisations": {"public": layers(experts, 0.97), "balanced": layers(experts, 0.05)}
        if helm
        else {"own": layers(experts, 0.1)},
        "layers": layers(experts),
        "bits_per_byte": sum(found) / sum(sizes),
        "blocks": {"bits": found, "bytes": sizes},
    }
    train = {"steps": 20, "step_tokens": 128, "row_tokens": 32, "lr": 2e-3, "warmup": 0.03}
    train |= {"lr_floor": 0.1, "weight_decay": 0.01, "gradient_clip": 1.0, "evaluations": 2}
    record = {
        "kind": "pretrain",
        "identity": f"{model}-{seed}-{bits}",
        "model": model,
        "size": "tiny",
        "seed": seed,
        "data": "synthetic",
        "split": "test",
        "text": {part: PART for part in ("train", "validation", "test")},
        "tokenizer": "embedded",
        "vocabulary": 1536,
        "train": train | {"precision": "32-true"},
        "choices": {},
        "training": training,
        "tokens_per_second": 2000.0 if helm else 4000.0,
        "utilisation": 0.3,
        "matmul_flops_per_second": 9e10,
        "hashes": {"text": "a" * 64, "tokenizer": "b" * 64},
        "git": {"commit": "c" * 40, "dirty": False},
        "device": "a processor",
    }
    return record | changes
