"""The configuration of both HELM models: the dense one and the one with experts."""

from __future__ import annotations

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from bench.models.helm.rotary import frequencies

KINDS = ("helm_d", "helm_mice")
CHOICES = {
    "kind": KINDS,
    "initialization": ("balanced", "public"),
    "embedding": ("lifted", "lorentz"),
    "merge": ("helm", "centroid"),
    "router_scores": ("softmax", "sigmoid"),
}


@strict
class HelmConfig(PreTrainedConfig):
    """Sizes and choices of a HELM (arXiv 2505.24722).

    All widths count *space* coordinates; a point has one more, its time. A published width of 390
    is a `hidden_size` of 389, a head of 65 a `head_dim` of 64.

    Args:
        kind: `helm_d`, dense; or `helm_mice`, with latent attention and experts.
        vocab_size: entries of the embedding and the head.
        hidden_size: of the stream.
        intermediate_size: of the feed-forward layers (of the first, dense ones in `helm_mice`).
        num_hidden_layers: blocks.
        num_attention_heads: heads; each has a key and a value of its own.
        head_dim: of a head of `helm_d`. Where it is odd, its last coordinate is not rotated.
        kv_lora_rank: of the latent that keys and values of `helm_mice` are made of.
        qk_nope_head_dim: of a head's key, without a position.
        qk_rope_head_dim: of a key's part with a position, which all heads share; even.
        v_head_dim: of a head's value.
        first_k_dense_replace: blocks of `helm_mice` that have no experts.
        moe_intermediate_size: of each expert.
        n_routed_experts: of each layer.
        num_experts_per_tok: experts that a token is sent to.
        n_shared_experts: the width of the shared expert, in experts.
        n_group: groups of experts that are chosen among first; 1 for none.
        topk_group: groups that a token's experts are taken from.
        router_scores: `softmax`, not normalised over the chosen; or `sigmoid`, normalised.
        routed_scaling_factor: of the chosen experts' weights.
        curvature: K of the stream; the sectional curvature is -1/K.
        expert_curvatures: lowest and highest K that the experts start with, evenly spaced. The
            public code starts all of them at 1.0.
        train_expert_curvatures: whether these K are learned.
        merge: of routed and shared experts: `helm`, one residual after the other as in the public
            code, or `centroid`, one weighted centroid as the paper writes.
        balance_loss: factor of the load-balancing loss, which is added to a training loss.
        balance_bias: step of the bias that :meth:`HelmForCausalLM.update_balance` moves.
        residual_gain: of both residuals of a block; None for the public code's: the root of the
            width, four times that in `helm_d`.
        initialization: `public`, or `balanced`, in which every weight on a time coordinate starts
            at 0: with the public one, time acts as one large bias and all tokens become alike.
        embedding: `lifted`, a Euclidean table; or `lorentz`, a table of points, which
            bench.training.riemannian_adam moves.
        float32_attention: attend in float32 in a model of half precision.
        max_position_embeddings: the longest text.
        rope_parameters: `rope_theta`, and for YaRN `rope_type`, `factor`, `beta_fast`, `beta_slow`
            and `original_max_position_embeddings`.
        rms_norm_eps: of the norms.
        initializer_range: standard deviation of a `lifted` embedding; None for the public code's 1,
            and where the head has the same weights for `1 / sqrt(hidden_size)`, with which logits
            start at 1, about.
        tie_word_embeddings: whether the head has the embedding's weights, beside a time column of
            its own; for `lifted` alone.

    Raises:
        ValueError: a size or a choice that no model can be made with.
    """

    model_type = "helm"
    keys_to_ignore_at_inference = ("past_key_values",)

    kind: str = "helm_d"
    vocab_size: int = 128_256
    hidden_size: int = 384
    intermediate_size: int = 1536
    num_hidden_layers: int = 6
    num_attention_heads: int = 6
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    kv_lora_rank: int = 64
    qk_nope_head_dim: int = 31
    qk_rope_head_dim: int = 16
    v_head_dim: int = 31
    first_k_dense_replace: int = 1
    moe_intermediate_size: int = 768
    n_routed_experts: int = 4
    num_experts_per_tok: int = 2
    n_shared_experts: int = 1
    n_group: int = 1
    topk_group: int = 1
    router_scores: str = "softmax"
    routed_scaling_factor: float | int = 1.0
    curvature: float | int = 1.0
    expert_curvatures: tuple[float, float] | list[float] = (0.5, 2.0)
    train_expert_curvatures: bool = True
    merge: str = "helm"
    balance_loss: float | int = 1e-4
    balance_bias: float | int = 0.005
    residual_gain: float | int | None = None
    initialization: str = "balanced"
    embedding: str = "lifted"
    float32_attention: bool = False
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    rope_parameters: dict | None = None
    rms_norm_eps: float = 1e-8
    initializer_range: float | int | None = None
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.rope_parameters is None:
            self.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
        self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.residual_gain is None:
            times = 4 if self.kind == "helm_d" else 1
            self.residual_gain = times * math.sqrt(self.hidden_size + 1)
        if self.initializer_range is None:
            tied = self.tie_word_embeddings
            self.initializer_range = 1 / math.sqrt(self.hidden_size) if tied else 1.0
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Refuse sizes and choices that do not go together.

        Raises:
            ValueError: the message says what is allowed.
        """
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                given = getattr(self, name)
                raise ValueError(f"{name} must be {' or '.join(allowed)}, not {given!r}")
        lowest, highest = self.expert_curvatures
        if not (self.curvature > 0 and 0 < lowest <= highest):
            raise ValueError("curvature and expert_curvatures must be positive, the lower K first")
        if self.tie_word_embeddings and self.embedding == "lorentz":
            raise ValueError(
                "a head can't share a table of points, which moves on its manifold: set "
                "embedding='lifted' or tie_word_embeddings=false"
            )
        if self.kind == "helm_mice":
            self._validate_experts()

    def validate_rope(self) -> None:
        """Check the rotations; unlike transformers', an odd head is right: its last one stays.

        Raises:
            ValueError: they can't be made.
        """
        frequencies(2, self.rope_parameters or {})

    def _validate_experts(self) -> None:
        if self.qk_rope_head_dim % 2:
            raise ValueError(f"qk_rope_head_dim must be even, not {self.qk_rope_head_dim}")
        if not 0 < self.num_experts_per_tok <= self.n_routed_experts:
            raise ValueError(
                f"num_experts_per_tok must be from 1 to n_routed_experts={self.n_routed_experts}, "
                f"not {self.num_experts_per_tok}"
            )
        if self.n_routed_experts % self.n_group or not 0 < self.topk_group <= self.n_group:
            raise ValueError(
                "n_group must divide n_routed_experts, and topk_group be from 1 to n_group"
            )
        if self.n_shared_experts < 1:
            raise ValueError("n_shared_experts must be 1 or more: the merge starts from it")

    @property
    def qk_head_dim(self) -> int:
        """Space coordinates of a query or key of latent attention."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim
