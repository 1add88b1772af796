"""What is measured: bases of several shapes, with each method, and the work they are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import peft
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from bench.config import read_method
from bench.efficiency.timing import Work
from bench.methods import attach, peft_config
from bench.models.shared import over_the_weights_of

CONTROL = "lora again"  # LoRA beside itself: what is left of its ratio is noise
REFERENCE = "lora"
CONF = Path(__file__).resolve().parents[2] / "conf"
VOCABULARY = 1024


@dataclass(frozen=True)
class Case:
    """A base and the sizes of its work.

    Attributes:
        name: of the case.
        layer: width of a single linear layer, in place of a language model.
        config: of a LLaMA with random weights; empty for the embedded base.
        rank: of the low-rank methods; alpha is twice it.
        batch: rows of a fine-tuning step.
        lengths: tokens of a row, in a step and in a prefill.
        decode: rows for which single tokens are decoded.
        vocabulary: tokens are drawn below it.
    """

    name: str
    layer: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    rank: int = 16
    batch: int = 1
    lengths: tuple[int, ...] = (256,)
    decode: tuple[int, ...] = (1, 32)
    vocabulary: int = VOCABULARY


_LLAMA3_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
CASES = {
    case.name: case
    for case in (
        Case("layer", layer=2048, rank=32, lengths=(512,)),
        Case("tiny", batch=16, lengths=(96,)),
        Case(
            "block",
            config=_LLAMA3_8B | {"num_hidden_layers": 1, "vocab_size": VOCABULARY},
            rank=32,
            decode=(1,),
        ),
        Case(
            "llama3-8b",
            config=_LLAMA3_8B | {"num_hidden_layers": 32, "vocab_size": 128_256},
            rank=32,
            lengths=(256, 2048),
            vocabulary=128_256,
        ),
    )
}


class OneLayer(nn.Module):
    """A linear layer that peft can name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        return self.linear(x)


def options_of(method: str, rank: int) -> tuple[str, dict[str, Any]]:
    """A method's module and options: those of conf/method/, with this rank and K = 1.

    Args:
        method: the name of a file there; `CONTROL` is LoRA.
        rank: of the low-rank methods.
    """
    name = REFERENCE if method == CONTROL else method
    section = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text(encoding="utf-8"))
    sizes = yaml.safe_load((CONF / "train" / "default.yaml").read_text(encoding="utf-8"))["adapter"]
    # What Hydra, which may not be installed here, fills in.
    section |= {
        key: sizes[value.removeprefix("${train.adapter.").removesuffix("}")]
        for key, value in section.items()
        if isinstance(value, str) and value.startswith("${train.adapter.")
    }
    section["lr"] = {}  # nothing is trained to an end; and PyYAML reads 3e-3 as text
    if "curvature" in section:
        section["curvature"] = 1.0
    if "r" in section:
        section |= {"r": rank, "lora_alpha": 2 * rank}
    found = read_method(section)
    return found.module, found.options


def build(
    case: Case, methods: tuple[str, ...], dtype: torch.dtype, device: torch.device
) -> dict[str, nn.Module]:
    """The base with each method. All share the base's weights; the adapters are drawn alike.

    Raises:
        ValueError: a method that a single layer does not have.
    """
    base = _base(case, dtype, device)
    models = {}
    for method in methods:
        torch.manual_seed(0)
        module, options = options_of(method, case.rank)
        own = over_the_weights_of(base)
        if case.layer:
            if "target_modules" not in options or "placement" in options:
                raise ValueError(f"{method} is none of a single layer's methods")
            options["target_modules"] = ["linear"]
            config: Any = peft_config(module, options)
            config.task_type = None
            model: Any = peft.get_peft_model(own, config)
        else:
            prompts = [list(range(5, 37))]
            model = attach(own, module, options, prompts)
        models[method] = trained_looking(model)
    return models


def _base(case: Case, dtype: torch.dtype, device: torch.device) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    from bench.models.tiny_base import TINY_BASE

    torch.manual_seed(0)
    if case.layer:
        return OneLayer(case.layer).to(device, dtype)
    if not case.config:
        embedded: Any = LlamaForCausalLM.from_pretrained(TINY_BASE, dtype=dtype)
        return embedded.to(device)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # 8 billion numbers are not made in float32 first
    try:
        with device:
            return LlamaForCausalLM(LlamaConfig(**case.config))
    finally:
        torch.set_default_dtype(default)


@torch.no_grad()
def trained_looking(model: nn.Module) -> nn.Module:
    """Fill the factors that start at 0, so that no work is skipped and every gate is at work."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            values = torch.randn(parameter.shape, generator=generator) * 0.02
            parameter.copy_(values.to(parameter))
    return model


def works_of(
    case: Case, model: nn.Module, dtype: torch.dtype, device: torch.device
) -> dict[str, Callable[[], Work]]:
    """The pieces of work of a case; each is made when it is measured, so that none holds memory."""
    if case.layer:
        length = case.lengths[0]
        return {
            f"step {length}": partial(_layer_step, model, _tokens(case, length, dtype, device)),
            "token": partial(_without_gradient, model, _tokens(case, 1, dtype, device)),
        }
    made: dict[str, Callable[[], Work]] = {}
    trained = any(p.requires_grad for p in model.parameters())
    for length in case.lengths:
        if trained:
            made[f"step {length}"] = partial(
                training_step, model, random_ids(case, case.batch, length, device)
            )
        made[f"prefill {length}"] = partial(_prefill, model, random_ids(case, 1, length, device))
    for rows in case.decode:
        prompt = random_ids(case, rows, case.lengths[0], device)
        made[f"decode {rows}"] = partial(decode_step, model, prompt)
    return made


def _tokens(case: Case, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, count, case.layer, generator=generator).to(device, dtype)


def random_ids(case: Case, rows: int, length: int, device: torch.device) -> Tensor:
    """Tokens of a case's vocabulary, `(rows, length)`, the same each time."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(3, case.vocabulary, (rows, length), generator=generator).to(device)


def _layer_step(model: nn.Module, x: Tensor) -> Work:
    model.train()
    x = x.requires_grad_()
    grad = torch.ones_like(x)

    def work() -> None:
        model(x).backward(grad)
        model.zero_grad()
        x.grad = None

    return work


def _without_gradient(model: nn.Module, x: Tensor) -> Work:
    model.eval()

    @torch.no_grad()
    def work() -> Tensor:
        return model(x)

    return work


def training_step(model: nn.Module, ids: Tensor) -> Work:
    """Forward, backward and AdamW over all that is trained."""
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-9)

    def work() -> None:
        logits = model(input_ids=ids, use_cache=False).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return work


def _prefill(model: nn.Module, ids: Tensor) -> Work:
    model.eval()

    @torch.no_grad()
    def work() -> Tensor:
        return model(input_ids=ids, use_cache=True, logits_to_keep=1).logits

    return work


def decode_step(model: nn.Module, ids: Tensor) -> Work:
    """One token for each row behind a prompt that is in the cache."""
    model.eval()
    with torch.no_grad():
        cache = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
    last = ids[:, -1:]
    # A prefix stands in the cache already; peft's own forward would put it there again.
    inner = model.base_model if isinstance(model, peft.PeftModel) else model

    @torch.no_grad()
    def work() -> Tensor:
        logits = inner(input_ids=last, past_key_values=cache, use_cache=True).logits
        cache.crop(-1)
        return logits

    return work
