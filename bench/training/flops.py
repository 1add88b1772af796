"""How much arithmetic a model does for a token, for the utilisation of a device."""

from __future__ import annotations

from typing import Any

FORMULA = (
    "6 a weight of a matrix that a token passes (of the routed experts those it goes to; the input's "
    "embedding is a look-up) and 6 T (query and value widths of all heads) a layer for attention over "
    "T = row_tokens, as if no document ended: 2 forward, 4 backward (PaLM, appendix B)"
)


def matrix_parameters(model: Any) -> int:
    """Weights of matrices that the passage of one token multiplies with."""
    config = model.config
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is not None and head.weight is embedding.weight
    total = 0.0
    experts = getattr(config, "n_routed_experts", None)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or (parameter is embedding.weight and not tied):
            continue
        share = 1.0
        if experts and parameter.ndim == 3 and len(parameter) == experts:
            share = config.num_experts_per_tok / experts
        total += share * parameter.numel()
    return round(total)


def flops_a_token(model: Any, row_tokens: int) -> float:
    """Floating-point operations of a training step for one token; `FORMULA` says which."""
    config = model.config
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    query = getattr(config, "qk_head_dim", None) or head
    value = getattr(config, "v_head_dim", None) or head
    attention = 6 * config.num_hidden_layers * heads * (query + value) * row_tokens
    return 6.0 * matrix_parameters(model) + attention


def parameter_counts(model: Any) -> dict[str, int]:
    """All parameters, those outside of the vocabulary's tables, and those a token passes of these."""
    tables = {id(t.weight): t.weight.numel() for t in _tables(model)}
    total = sum(p.numel() for p in model.parameters())
    return {"total": total, "without_vocabulary": total - sum(tables.values())}


def _tables(model: Any) -> list[Any]:
    found = [model.get_input_embeddings(), model.get_output_embeddings()]
    return [table for table in found if table is not None]
