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
from transformers.modeling_outputs import MoeCausalLMOutputWithPast
from transformers.utils import ModelOutput, can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from bench.models.helm.block import HelmBlock
from bench.models.helm.config import HelmConfig
from bench.models.helm.embedding import LorentzEmbedding
from bench.models.helm.experts import CurvatureExperts
from bench.models.helm.importer import own_weights, read_weights
from bench.models.helm.linear import init_column, init_linear, on_point, xavier
from bench.models.helm.masks import attention_mask as make_mask
from bench.models.helm.points import SpaceRMSNorm, time_of
from bench.models.helm.residual import LorentzResidual
from bench.models.helm.rotary import HopeTable
from bench.models.helm.router import Router


@dataclass
class HelmModelOutput(ModelOutput):
    """The output of :class:`HelmModel`.

    Attributes:
        last_hidden_state: `(batch, tokens, hidden_size)`, space coordinates, normed for the head.
        past_key_values: The cache.
        hidden_states: The stream before each block and the last hidden state, if requested.
        balance_loss: The sum over all layers of experts, in training; None without experts.
    """

    last_hidden_state: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    balance_loss: Tensor | None = None


class HelmPreTrainedModel(PreTrainedModel):
    """Settings and initialization of HELM models."""

    config: HelmConfig
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
            assert self.config.initializer_range is not None
            init.normal_(module.weight, std=self.config.initializer_range)
        elif (initialize := getattr(module, "initialize", None)) is not None:
            initialize()


class HelmModel(HelmPreTrainedModel):
    """Embedding, blocks, and the projection and norm before the head."""

    def __init__(self, config: HelmConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        if config.embedding == "lorentz":
            self.embed_tokens: nn.Embedding = LorentzEmbedding(
                config.vocab_size, width, config.curvature
            )
        else:
            self.embed_tokens = nn.Embedding(config.vocab_size, width)
        self.layers = nn.ModuleList(HelmBlock(config, i) for i in range(config.num_hidden_layers))
        self.final_proj = nn.Linear(width, width)
        self.final_time = nn.Parameter(torch.empty(width))
        self.norm = SpaceRMSNorm(width, config.rms_norm_eps)
        assert config.head_dim is not None and config.rope_parameters is not None
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
        """The last hidden state.

        Args:
            input_ids: `(batch, tokens)`.
            attention_mask: `(batch, tokens so far)`, 0 for padding; or a 4D mask.
            position_ids: `(batch, tokens)`; by default they continue those of the cache.
            past_key_values: The cache of earlier tokens; updated in place.
            inputs_embeds: `(batch, tokens, hidden_size)`, space coordinates, instead of ids.
            use_cache: Whether to create a cache.
            sequence_ids: `(batch, tokens)`, the document of each token of a packed row; tokens
                attend only within their document.
            **kwargs: Options of transformers, such as `output_hidden_states`.

        Raises:
            ValueError: Both ids and embeddings, or neither; or an invalid combination of masks.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        assert inputs_embeds is not None
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        mask = make_mask(
            self.config, inputs_embeds, attention_mask, sequence_ids, past_key_values, position_ids
        )
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
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
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            sequence_ids=sequence_ids,
            **kwargs,
        )
        kept: Any = logits_to_keep
        if isinstance(kept, int):
            kept = slice(-kept or None, None)
        last = outputs.last_hidden_state[:, kept]
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
