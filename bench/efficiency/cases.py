"""What is measured: bases of several shapes with each method, and their workloads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import peft
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from bench.config import read_method
from bench.efficiency.regimes import REGIMES, Regime, put_in
from bench.efficiency.timing import Workload
from bench.methods import attach, peft_config
from bench.models.compiled import GRAPHS
from bench.models.kernels import use_liger
from bench.models.shared import with_shared_weights

CONTROL = "lora again"  # LoRA a second time: its ratio shows the noise
REFERENCE = "lora"
CONF = Path(__file__).resolve().parents[2] / "conf"
VOCABULARY = 1024


@dataclass(frozen=True)
class Case:
    """A base and the sizes of its workloads.

    Attributes:
        layer: width of a single linear layer, in place of a language model.
        config: of a LLaMA with random weights; empty for the embedded base.
        rank: of the low-rank methods; alpha is twice it.
        lengths: tokens of a row, in a step and in a prefill.
        decode: numbers of rows for which single tokens are decoded.
        vocabulary: random tokens are below it.
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
        Case(
            "llama-135m",  # SmolLM2-135M's shape (its config.json)
            config={
                "hidden_size": 576,
                "intermediate_size": 1536,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
                "num_hidden_layers": 30,
                "vocab_size": 49_152,
                "tie_word_embeddings": True,
            },
            vocabulary=49_152,
        ),
    )
}


@cache
def read_conf(group: str, name: str) -> dict[str, Any]:
    """The content of a file in conf/; it is cached, so do not change it."""
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))


def options_of(method: str, rank: int) -> tuple[str, dict[str, Any]]:
    """Module and options of a method in conf/method/, or of `CONTROL`, with a rank and K = 1."""
    name = REFERENCE if method == CONTROL else method
    section = dict(read_conf("method", name))
    sizes = read_conf("train", "default")["adapter"]
    # Hydra, which may not be installed here, would resolve these.
    prefix = "${train.adapter."
    for key, value in section.items():
        if isinstance(value, str) and value.startswith(prefix):
            section[key] = sizes[value.removeprefix(prefix).removesuffix("}")]
    section["lr"] = {}  # not used; and PyYAML reads 3e-3 as text
    if "curvature" in section:
        section["curvature"] = 1.0
    if "r" in section:
        section |= {"r": rank, "lora_alpha": 2 * rank}
    found = read_method(section)
    return found.module, found.options


def build(
    case: Case,
    methods: tuple[str, ...],
    dtype: torch.dtype,
    device: torch.device,
    regime: Regime = REGIMES["evaluation"],
    liger: bool = False,
) -> dict[str, nn.Module]:
    """The base with each method; all share the base's weights and the adapters' seed.

    Args:
        regime: of the adapters.
        liger: whether Liger's kernels replace parts of the base.

    Raises:
        ValueError: a method that a single layer can't have.
    """
    base = base_of(case, dtype, device)
    if liger:
        use_liger(base)
    models = {}
    for method in methods:
        torch.manual_seed(0)
        module, options = options_of(method, case.rank)
        own = with_shared_weights(base)
        if case.layer and method == "none":
            model: Any = own.requires_grad_(False)
        elif case.layer:
            if "target_modules" not in options or "placement" in options:
                raise ValueError(f"{method} does not work on a single layer")
            options["target_modules"] = ["linear"]
            config: Any = peft_config(module, options)
            config.task_type = None
            model = peft.get_peft_model(own, config)
        else:
            model = attach(own, module, options, [list(range(5, 37))])
        models[method] = put_in(regime, _fill_zeros(model), dtype, device)
    return models


def base_of(case: Case, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """A case's base: a layer or a LLaMA with random weights, or the embedded base."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    from bench.models.tiny_base import TINY_BASE

    torch.manual_seed(0)
    if case.layer:
        linear = nn.Linear(case.layer, case.layer, bias=False)
        return nn.Sequential(OrderedDict(linear=linear)).to(device, dtype)
    if not case.config:
        embedded: Any = AutoModelForCausalLM.from_pretrained(TINY_BASE, dtype=dtype)
        return embedded.to(device)
    with device:
        return AutoModelForCausalLM.from_config(LlamaConfig(**case.config), dtype=dtype)


@torch.no_grad()
def _fill_zeros(model: nn.Module) -> nn.Module:
    """Fill the factors that start at 0, as training would, so that no computation is trivial."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            values = torch.randn(parameter.shape, generator=generator) * 0.02
            parameter.copy_(values.to(parameter))
    return model


def workloads_of(
    case: Case, model: nn.Module, dtype: torch.dtype, device: torch.device
) -> dict[str, Callable[[], Workload]]:
    """Factories of a case's workloads; a workload holds memory, so it is made when it is timed."""
    if case.layer:
        length = case.lengths[0]
        return {
            f"step {length}": partial(_layer_step, model, _states(case, length, dtype, device)),
            "token": partial(_inference, model, _states(case, 1, dtype, device)),
        }
    made: dict[str, Callable[[], Workload]] = {}
    trained = any(p.requires_grad for p in model.parameters())
    for length in case.lengths:
        if trained:
            made[f"step {length}"] = partial(
                training_step, model, random_ids(case, case.batch, length, device)
            )
        ids = random_ids(case, 1, length, device)
        made[f"prefill {length}"] = partial(
            _inference, model, input_ids=ids, use_cache=True, logits_to_keep=1
        )
    for rows in case.decode:
        prompt = random_ids(case, rows, case.lengths[0], device)
        made[f"decode {rows}"] = partial(decode_step, model, prompt)
    return made


def _states(case: Case, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, count, case.layer, generator=generator).to(device, dtype)


def random_ids(case: Case, rows: int, length: int, device: torch.device) -> Tensor:
    """Random tokens of a case's vocabulary, (rows, length), with a fixed seed."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(3, case.vocabulary, (rows, length), generator=generator).to(device)


def _layer_step(model: nn.Module, x: Tensor) -> Workload:
    model.train()
    x = x.requires_grad_()
    grad = torch.ones_like(x)

    def workload() -> None:
        model(x).backward(grad)
        model.zero_grad()
        x.grad = None

    return workload


def _inference(model: nn.Module, *args: Any, **options: Any) -> Workload:
    model.eval()
    return torch.no_grad()(partial(model, *args, **options))


def training_step(model: nn.Module, ids: Tensor) -> Workload:
    """Forward, backward and AdamW over all trainable parameters."""
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-9)

    def workload() -> None:
        logits = model(input_ids=ids, use_cache=False).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return workload


def _decoder(model: nn.Module) -> nn.Module:
    """The module that decodes: the cache has a prefix already, which peft would add again."""
    return model.base_model if isinstance(model, peft.PeftModel) else model


def compile_calls(model: nn.Module, **options: Any) -> None:
    """Compile all workloads of a model, with further options of torch.compile.

    Its graphs do not count against the limit of other models, which share its code: beyond it a
    model would be timed without compilation.
    """
    for module in {model, _decoder(model)}:
        module.compile(dynamic=False, isolate_recompiles=True, recompile_limit=GRAPHS, **options)


def decode_step(model: nn.Module, ids: Tensor) -> Workload:
    """Decode one token for each row, with the prompt in the cache."""
    model.eval()
    with torch.no_grad():
        cache = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
    last = ids[:, -1:]
    inner = _decoder(model)

    @torch.no_grad()
    def workload() -> Tensor:
        logits = inner(input_ids=last, past_key_values=cache, use_cache=True).logits
        cache.crop(-1)
        return logits

    return workload
