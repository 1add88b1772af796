"""HELM-D and HELM-MiCE as models of transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, MoeCausalLMOutputWithPast
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from bench.models.helm.attention import LorentzAttention, LorentzLatentAttention
from bench.models.helm.config import HelmConfig
from bench.models.helm.experts import CurvatureExperts, MixtureOfCurvatureExperts
from bench.models.helm.importer import own_weights, read_weights
from bench.models.helm.layers import (
    LorentzEmbedding,
    LorentzFeedForward,
    init_column,
    init_linear,
    on_point,
    xavier,
)
from bench.models.helm.points import LorentzResidual, SpaceRMSNorm, time_of
from bench.models.helm.rotary import HopeTable
from bench.models.helm.router import Router


class HelmBlock(GradientCheckpointingLayer):
    """Attention, and a feed-forward layer or experts, each with a norm before it."""

    def __init__(self, config: HelmConfig, layer_idx: int) -> None:
        super().__init__()
        self.K = config.curvature
        latent = config.kind == "helm_mice"
        self.has_experts = latent and layer_idx >= config.first_k_dense_replace
        attention = LorentzLatentAttention if latent else LorentzAttention
        self.self_attn = attention(config, layer_idx)
        if self.has_experts:
            self.mlp: nn.Module = MixtureOfCurvatureExperts(config)
        else:
            self.mlp = LorentzFeedForward(config, config.intermediate_size)
        self.input_layernorm = SpaceRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = SpaceRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention_residual = LorentzResidual(config.residual_gain, self.K)
        self.mlp_residual = LorentzResidual(config.residual_gain, self.K)

    def forward(
        self,
        stream: Tensor,
        table: Tensor,
        mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        valid: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """The stream `(batch, tokens, hidden_size)` after the block, and its balance loss, if any.

        Arguments as in `LorentzAttention`, and `valid` as in `MixtureOfCurvatureExperts`;
        transformers may pass others, which are ignored.
        """
        normed = self.input_layernorm(stream)
        branch = self.self_attn(normed, time_of(normed, self.K), table, mask, past_key_values)
        stream = self.attention_residual(stream, branch)
        normed = self.post_attention_layernorm(stream)
        time, balance = time_of(normed, self.K), None
        if self.has_experts:
            branch, balance = self.mlp(normed, time, valid)
        else:
            branch = self.mlp(normed, time)
        return self.mlp_residual(stream, branch), balance


@dataclass
class HelmModelOutput(BaseModelOutputWithPast):
    """Space coordinates, normed for the head; and the balance loss of all experts in training."""

    balance_loss: Tensor | None = None


class HelmPreTrainedModel(PreTrainedModel):
    """Settings and initialization of HELM models."""

    config_class = HelmConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("HelmBlock",)
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True
    _can_record_outputs = {"hidden_states": HelmBlock}  # noqa: RUF012  as transformers has it

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, SpaceRMSNorm | LorentzResidual):
            init.ones_(module.weight)
        elif isinstance(module, nn.Embedding) and not isinstance(module, LorentzEmbedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif (initialize := getattr(module, "initialize", None)) is not None:
            initialize()


class HelmModel(HelmPreTrainedModel):
    """Embedding, blocks, and the projection and norm before the head."""

    def __init__(self, config: HelmConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        if config.embedding == "lorentz":
            self.embed_tokens = LorentzEmbedding(config.vocab_size, width, config.curvature)
        else:
            self.embed_tokens = nn.Embedding(config.vocab_size, width)
        self.layers = nn.ModuleList(HelmBlock(config, i) for i in range(config.num_hidden_layers))
        self.final_proj = nn.Linear(width, width)
        self.final_time = nn.Parameter(torch.empty(width))
        self.norm = SpaceRMSNorm(width, config.rms_norm_eps)
        rotated = config.head_dim // 2 * 2 if config.kind == "helm_d" else config.qk_rope_head_dim
        self.rotary = HopeTable(rotated, config.rope_parameters)
        self.gradient_checkpointing = False
        self.post_init()

    def initialize(self) -> None:
        """Draw the weights of the final projection."""
        width = self.config.hidden_size
        balanced = self.config.initialization == "balanced"
        init_linear(self.final_proj, self.final_time, xavier(width + 1, width), 0.0, balanced)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        sequence_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> HelmModelOutput:
        """The last hidden state; arguments as in transformers, and:

        Args:
            attention_mask: `(batch, tokens so far)`, 0 for padding; or a 4D mask.
            inputs_embeds: `(batch, tokens, hidden_size)`, space coordinates, instead of ids.
            sequence_ids: `(batch, tokens)`, the document of each token of a packed row; tokens
                attend only within their document.

        Raises:
            ValueError: Both ids and embeddings, or neither; or an invalid combination of masks.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        seen = past_key_values.get_seq_length() if past_key_values is not None else 0
        if sequence_ids is None:
            mask = create_causal_mask(
                self.config, inputs_embeds, attention_mask, past_key_values, position_ids
            )
        elif seen:
            raise ValueError("sequence_ids need complete rows: leave them out with a cache")
        else:
            mask = _mask_of_documents(sequence_ids, inputs_embeds, attention_mask)
        if position_ids is None:
            tokens = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)
            position_ids = (tokens + seen).unsqueeze(0)
        valid = None
        if attention_mask is not None and attention_mask.ndim == 2:
            valid = attention_mask[:, -inputs_embeds.shape[1] :]
        table = self.rotary(position_ids, inputs_embeds.dtype)
        stream, losses = inputs_embeds, []
        for block in self.layers:
            stream, loss = block(stream, table, mask, past_key_values, valid, **kwargs)
            if loss is not None:
                losses.append(loss)
        time = time_of(stream, self.config.curvature)
        last = self.norm(on_point(self.final_proj, stream, time, self.final_time))
        balance = torch.stack(losses).sum() if losses else None
        return HelmModelOutput(
            last_hidden_state=last, past_key_values=past_key_values, balance_loss=balance
        )


class HelmForCausalLM(HelmPreTrainedModel, GenerationMixin):
    """A HELM with its head: a dot product with the whole point, its time included."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: HelmConfig) -> None:
        super().__init__(config)
        self.model = HelmModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.lm_head_time = nn.Parameter(torch.empty(config.vocab_size))
        self.post_init()

    def initialize(self) -> None:
        """Draw the weights of the head."""
        bound = 1 / math.sqrt(self.config.hidden_size + 1)
        if not self.config.tie_word_embeddings:
            init.uniform_(self.lm_head.weight, -bound, bound)
        init_column(self.lm_head_time, bound, self.config.initialization == "balanced")

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        sequence_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> MoeCausalLMOutputWithPast:
        """Logits, and a loss if there are labels; further arguments as in `HelmModel.forward`.

        Args:
            labels: `(batch, tokens)`, not shifted; -100 is ignored.
            logits_to_keep: Number of last positions with logits, or their indices; 0 for all.

        Returns:
            `loss`: the mean cross-entropy, in training plus the balance loss; `logits`,
            `(batch, tokens, vocab_size)`; `aux_loss`: the balance loss of a model with experts in
            training; `past_key_values`, `hidden_states`.
        """
        inputs = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds)
        outputs = self.model(*inputs, use_cache=use_cache, sequence_ids=sequence_ids, **kwargs)
        if isinstance(logits_to_keep, int):
            logits_to_keep = slice(-logits_to_keep or None, None)
        last = outputs.last_hidden_state[:, logits_to_keep]
        time = time_of(last, self.config.curvature)
        logits = on_point(self.lm_head, last, time, self.lm_head_time)
        loss, balance = None, outputs.balance_loss
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs
            )
            if balance is not None:
                loss = loss + balance
        return MoeCausalLMOutputWithPast(
            loss=loss,
            aux_loss=balance,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )

    @classmethod
    def from_public(
        cls, state: Mapping[str, Tensor] | str | Path, config: HelmConfig
    ) -> HelmForCausalLM:
        """A model in eval mode with the weights of the public HELM code, in their dtype.

        `state` is a public state dict or the path of its file; InputError if it does not fit.
        """
        if isinstance(state, str | Path):
            state = read_weights(state)
        with torch.device("meta"):
            model = cls(config)
        model.load_state_dict(own_weights(state, config, model.state_dict()), assign=True)
        return model.eval()

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kw: Any):  # type: ignore[override]
        """As in transformers; new entries of the head's time column are zero."""
        embeddings = super().resize_token_embeddings(new_num_tokens, *args, **kw)
        old, size = self.lm_head_time, self.lm_head.weight.shape[0]
        if len(old) != size:
            column = F.pad(old.detach(), (0, size - len(old)))
            self.lm_head_time = nn.Parameter(column, old.requires_grad)
        return embeddings

    def update_balance(self) -> None:
        """Move the routers' biases towards an even load: once after each optimiser step."""
        for module in self.modules():
            if isinstance(module, Router):
                module.move_bias()

    @torch.no_grad()
    def curvatures(self) -> dict[str, float]:
        """K of the stream and of every expert, by name; the sectional curvature is -1/K."""
        found = {"stream": float(self.config.curvature)}
        for name, module in self.named_modules():
            if isinstance(module, CurvatureExperts):
                for e, K in enumerate(module.curvatures().tolist()):
                    found[f"{name}.{e}"] = K
        return found


def _mask_of_documents(ids: Tensor, embeds: Tensor, given: Tensor | None) -> Tensor:
    """The mask of packed rows, `(batch, 1, tokens, tokens)`."""
    if ids.shape != embeds.shape[:2]:
        raise ValueError(
            f"sequence_ids must be (batch, tokens) = {tuple(embeds.shape[:2])}, not "
            f"{tuple(ids.shape)}"
        )
    if given is not None and given.ndim != 2:
        raise ValueError("sequence_ids and a 4D attention_mask exclude each other: give one")
    mask = (ids.unsqueeze(2) == ids.unsqueeze(1)).tril().unsqueeze(1)
    return mask if given is None else mask & given.bool()[:, None, None, :]
