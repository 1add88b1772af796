"""The configuration of HELM-D and HELM-MiCE."""

import math
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from bench.models.helm.rotary import frequencies


@strict
class HelmConfig(PreTrainedConfig):
    """Sizes and options of a HELM (arXiv 2505.24722).

    All widths count *space* coordinates; a point has one more, its time. A published width of 390
    is a `hidden_size` of 389, a head of 65 a `head_dim` of 64. Options that are not listed are as
    in LLaMA and DeepSeek-V3.

    Args:
        kind: `helm_d`, dense; or `helm_mice`, with latent attention and experts.
        head_dim: Width of a head of `helm_d`. If odd, its last coordinate is not rotated.
        n_shared_experts: Width of the shared expert, in experts.
        router_scores: `softmax`, not normalised over the chosen; or `sigmoid`, normalised.
        curvature: K of the stream; the sectional curvature is -1/K.
        expert_curvatures: Lowest and highest initial K of the experts, evenly spaced; 1.0 in the
            public code. They are learned with `train_expert_curvatures`.
        merge: Of routed and shared experts: `helm`, successive residuals as in the public code; or
            `centroid`, one weighted centroid as in the paper.
        balance_loss: Factor of the load-balancing loss, which is part of the training loss.
        balance_bias: Step of the routers' biases in :meth:`HelmForCausalLM.update_balance`.
        residual_gain: Of both residuals of a block; None as in the public code: the root of the
            width, times four for `helm_d`.
        initialization: `public`; or `balanced`, where weights on time coordinates are zero: with
            `public` ones, time acts as one large bias and all tokens become similar.
        embedding: `lifted`, a Euclidean table; or `lorentz`, a table of points, which needs
            bench.training.riemannian_adam.
        float32_attention: Compute attention in float32 in a model of half precision.
        rope_parameters: `rope_theta`, and for YaRN `rope_type`, `factor`, `beta_fast`, `beta_slow`
            and `original_max_position_embeddings`.
        initializer_range: Standard deviation of a `lifted` embedding; None for 1 as in the public
            code, or `1 / sqrt(hidden_size)` if tied, for logits of about 1.

    Raises:
        ValueError: Invalid sizes or options.
    """

    model_type = "helm"
    keys_to_ignore_at_inference = ("past_key_values",)

    kind: Literal["helm_d", "helm_mice"] = "helm_d"
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
    router_scores: Literal["softmax", "sigmoid"] = "softmax"
    routed_scaling_factor: float | int = 1.0
    curvature: float | int = 1.0
    expert_curvatures: tuple[float | int, float | int] | list[float | int] = (0.5, 2.0)
    train_expert_curvatures: bool = True
    merge: Literal["helm", "centroid"] = "helm"
    balance_loss: float | int = 1e-4
    balance_bias: float | int = 0.005
    residual_gain: float | int | None = None
    initialization: Literal["balanced", "public"] = "balanced"
    embedding: Literal["lifted", "lorentz"] = "lifted"
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
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.residual_gain is None:
            factor = 4 if self.kind == "helm_d" else 1
            self.residual_gain = factor * math.sqrt(self.hidden_size + 1)
        if self.initializer_range is None:
            tied = self.tie_word_embeddings
            self.initializer_range = 1 / math.sqrt(self.hidden_size) if tied else 1.0
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Raise ValueError for sizes and options that do not fit together."""
        lowest, highest = self.expert_curvatures
        experts, chosen = self.n_routed_experts, self.num_experts_per_tok
        if not (self.curvature > 0 and 0 < lowest <= highest):
            raise ValueError("curvature and expert_curvatures must be positive, the lower K first")
        if self.num_key_value_heads != self.num_attention_heads or self.hidden_act != "silu":
            raise ValueError(
                "HELM has one key and value per head, and SiLU: leave num_key_value_heads and "
                "hidden_act out"
            )
        if self.tie_word_embeddings and self.embedding == "lorentz":
            raise ValueError(
                "a table of points can't be tied to the head: set embedding='lifted' or "
                "tie_word_embeddings=false"
            )
        if self.kind == "helm_d":
            return
        if self.qk_rope_head_dim % 2:
            raise ValueError(f"qk_rope_head_dim must be even, not {self.qk_rope_head_dim}")
        if not 0 < chosen <= experts:
            raise ValueError(
                f"num_experts_per_tok must be in 1 to n_routed_experts={experts}, not {chosen}"
            )
        if experts % self.n_group or not 0 < self.topk_group <= self.n_group:
            raise ValueError(
                "n_group must divide n_routed_experts, and topk_group be in 1 to n_group"
            )
        if self.topk_group * (experts // self.n_group) < chosen:
            raise ValueError(
                f"topk_group={self.topk_group} of n_group={self.n_group} groups have fewer than "
                f"num_experts_per_tok={chosen} experts"
            )
        if self.n_shared_experts < 1:
            raise ValueError("n_shared_experts must be 1 or more")

    def validate_rope(self) -> None:
        """Raise ValueError for invalid rotations; unlike in transformers, heads may be odd."""
        frequencies(2, self.rope_parameters or {})

    @property
    def qk_head_dim(self) -> int:
        """Space coordinates of a query or key of latent attention."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim
