"""Parameters of a model, and its floating-point operations per token."""

from __future__ import annotations

from typing import Any

FORMULA = (
    "6 a weight of a matrix that a token passes (of the routed experts those it goes to; the "
    "input's embedding is a look-up), and 6 T (query and value widths of all heads) a layer for "
    "attention over T = row_tokens, as if no document ended before: 2 forward, 4 backward (PaLM, "
    "appendix B)"
)
TABLES = ("embed_tokens", "lm_head")
VECTORS = ("_time", "_bias")  # of experts, stacked to what looks like a matrix


def parameter_counts(model: Any) -> dict[str, int]:
    """All parameters, and those outside of the vocabulary's tables."""
    counts = [(name, p.numel()) for name, p in model.named_parameters()]
    blocks = [n for name, n in counts if not any(table in name for table in TABLES)]
    return {"total": sum(n for _, n in counts), "without_vocabulary": sum(blocks)}


def flops_per_token(model: Any, row_tokens: int) -> float:
    """Floating-point operations of a training step per token, by `FORMULA`."""
    config = model.config
    attention = config.num_hidden_layers * _attention_width(config) * row_tokens
    return 6.0 * (_matrix_weights(model) + attention)


def _matrix_weights(model: Any) -> float:
    """Weights of the matrices that multiply one token."""
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    total = 0.0
    for name, parameter in model.named_parameters():
        looked_up = parameter is table and table is not head
        if parameter.ndim >= 2 and not name.endswith(VECTORS) and not looked_up:
            experts = parameter.ndim == 3
            used = model.config.num_experts_per_tok / len(parameter) if experts else 1.0
            total += used * parameter.numel()
    return total


def _attention_width(config: Any) -> int:
    """Query and value widths of all heads, including the time coordinates of a HELM."""
    if config.model_type == "deepseek_v3" or getattr(config, "kind", "") == "helm_mice":
        widths = config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim
    else:
        widths = 2 * config.head_dim
    times = 2 if config.model_type == "helm" else 0
    return int(config.num_attention_heads * (widths + times))
