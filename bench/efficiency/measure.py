"""The measurement: every method on the same base, verified first, then timed relative to LoRA."""

from __future__ import annotations

import gc
import platform
import timeit
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from bench.efficiency.cases import (
    CASES,
    CONTROL,
    REFERENCE,
    Case,
    build,
    compile_calls,
    workloads_of,
)
from bench.efficiency.operations import count_operations
from bench.efficiency.regimes import REGIMES, Regime, regimes_of
from bench.efficiency.timing import Workload, compare, interleave
from bench.errors import InputError, unknown
from bench.methods.hyplora import HypLoraLinear, reference
from bench.models import compiled, kernels
from bench.models.loading import pick_device

ON_A_LAYER = (
    REFERENCE,
    CONTROL,
    "dora",
    "hyplora",
    "hyplora_boost",
    "hyplora_tangent",
    "hyplora_authors",
)
ALL = (*ON_A_LAYER, "series", "parallel", "prefix", "none")
WHY_NOT = {"compiled": compiled.why_not, "liger": kernels.why_not}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SLOW = 8.0  # a dtype whose products take so many times float32's is emulated, and not measured
# Maximum relative error of a timed layer to its literal definition, ||y - ref|| / ||ref||.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@dataclass(frozen=True)
class EfficiencySettings:
    """What is measured, and how often; conf/action/efficiency.yaml describes each setting."""

    cases: list[str]
    dtypes: list[str]
    methods: list[str]
    regimes: list[str] = field(default_factory=list)
    compiled: bool = False
    liger: bool = False
    rounds: int = 11
    seconds: float = 0.05
    threads: int = 1

    def __post_init__(self) -> None:
        for what, given, known in (
            ("case", self.cases, CASES),
            ("dtype", self.dtypes, DTYPES),
            ("method", self.methods, ALL),
            ("regime", self.regimes, REGIMES),
        ):
            for name in given:
                if name not in known:
                    raise unknown(f"efficiency {what}", name, known)
        if self.rounds < 1 or self.seconds <= 0 or self.threads < 0:
            raise InputError("action.rounds, seconds and threads must be positive")


def measure(settings: EfficiencySettings) -> dict[str, Any]:
    """Measure all cases.

    Returns:
        The report as plain data, in seconds and bytes.
    """
    import peft
    import transformers

    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = pick_device()
    found, skipped, dtypes = [], [], []
    for name in settings.dtypes:
        ratio = product_ratio(DTYPES[name], device)
        if ratio > SLOW and len(settings.dtypes) > 1:  # a single one was asked for
            reason = f"a product takes {ratio:.0f} times as long as in float32 on this processor"
            skipped.append({"case": name, "reason": reason})
        else:
            dtypes += [(DTYPES[name], r) for r in regimes_of(DTYPES[name], settings.regimes)]
    for kind in ("", *(kind for kind in WHY_NOT if getattr(settings, kind))):
        if kind and (reason := WHY_NOT[kind](device)):
            skipped.append({"case": kind, "reason": reason})
            continue
        found += [
            _measure_case(CASES[name], *resolved, device, settings, kind)
            for name in settings.cases
            for resolved in dtypes
            if kind != "liger" or not CASES[name].layer
        ]
    asked = (REFERENCE, *(settings.methods or ALL))
    methods = tuple(m for m in ON_A_LAYER if m != CONTROL and m in asked)
    operations = [count_operations(methods, *resolved, device) for resolved in dtypes]
    cpu = f"cpu ({platform.machine()})"
    return {
        "device": cpu if device.type == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "settings": asdict(settings),
        "versions": {m.__name__: str(m.__version__) for m in (torch, transformers, peft)},
        "cases": found,
        "operations": operations,
        "skipped": skipped,
    }


def product_ratio(dtype: torch.dtype, device: torch.device) -> float:
    """Time of a matrix product relative to float32's, about 300 on a CPU that emulates bfloat16."""
    if dtype == torch.float32 or device.type != "cpu":
        return 1.0
    seconds = {}
    for each in (dtype, torch.float32):
        rows, weight = torch.ones(16, 512, dtype=each), torch.ones(512, 512, dtype=each)
        seconds[each] = min(timeit.repeat(partial(torch.mm, rows, weight), number=1, repeat=3))
    return seconds[dtype] / seconds[torch.float32]


def _measure_case(
    case: Case,
    dtype: torch.dtype,
    regime: str,
    device: torch.device,
    settings: EfficiencySettings,
    kind: str,
) -> dict[str, Any]:
    chosen = settings.methods or ALL
    methods = (REFERENCE, *(m for m in chosen if m != REFERENCE))
    if case.layer:
        methods = tuple(m for m in methods if m in ON_A_LAYER)
    models = build(case, methods, dtype, device, REGIMES[regime], kind == "liger")
    errors = {name: check(name, model, REGIMES[regime]) for name, model in models.items()}
    if kind == "compiled":
        for model in models.values():
            compile_calls(model)
    makers = {name: workloads_of(case, model, dtype, device) for name, model in models.items()}
    dtype_name = str(dtype).removeprefix("torch.")
    works: dict[str, Any] = {}
    for work in makers[REFERENCE]:
        title = f"{case.name} {dtype_name} {regime} {kind}".rstrip() + f": {work}"
        able = {name: own[work] for name, own in makers.items() if work in own}
        works[work] = _measure_workload(title, able, models, device, settings)
        gc.collect()
    if kind == "compiled":
        torch._dynamo.reset()  # graphs use memory, and their total number is limited
    return {
        "case": case.name,
        "dtype": dtype_name,
        "regime": regime,
        "compiled": kind == "compiled",
        "liger": kind == "liger",
        "batch": case.batch,
        "rank": case.rank,
        "parameters": {
            name: sum(p.numel() for p in model.parameters() if p.requires_grad)
            for name, model in models.items()
        },
        "errors": errors,
        "works": works,
    }


def _measure_workload(
    title: str,
    makers: dict[str, Callable[[], Workload]],
    models: dict[str, nn.Module],
    device: torch.device,
    settings: EfficiencySettings,
) -> dict[str, dict[str, Any]]:
    peaks = {name: _peak_memory(maker, models[name], device) for name, maker in makers.items()}
    workloads = {name: maker() for name, maker in makers.items()}
    tried = interleave(title, workloads, 1)
    calls = {name: max(1, round(settings.seconds / one)) for name, (one,) in tried.items()}
    timings = compare(interleave(title, workloads, settings.rounds, calls), REFERENCE)
    return {name: timings[name] | {"peak_bytes": peaks[name]} for name in workloads}


def _peak_memory(
    maker: Callable[[], Workload], model: nn.Module, device: torch.device
) -> int | None:
    """Peak GPU memory during one call, without the other models' adapters; None on a CPU."""
    if device.type != "cuda":
        return None
    others = torch.cuda.memory_allocated(device) - sum(p.nbytes for p in model.parameters())
    workload = maker()
    workload()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    workload()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - others


@torch.no_grad()
def check(name: str, model: nn.Module, regime: Regime = REGIMES["uniform"]) -> float | None:
    """The relative error of a model's first HypLoRA layer to its definition; None without one.

    Raises:
        RuntimeError: it is larger than the dtype allows, so that another method would be timed.
    """
    layer = next((m for m in model.modules() if isinstance(m, HypLoraLinear)), None)
    if layer is None:
        return None
    weight = layer.get_parameter("base_layer.weight")
    x = torch.randn(64, layer.in_features, generator=torch.Generator().manual_seed(3))
    x = x.to(weight)
    adapter = layer.active_adapters[0]
    A, B = layer.hyplora_A[adapter].weight, layer.hyplora_B[adapter].weight
    literal = getattr(reference, layer.variant[adapter])
    K, s = layer.curvature(adapter), layer.hyplora_s[adapter]
    expected = x.double() @ weight.double().mT
    expected = expected + layer.scaling[adapter] * literal(x, A, B, K, s, layer.max_radius[adapter])
    with regime.context(x.device):
        found = layer(x)
    error = float((found.double() - expected).norm() / expected.norm())
    allowed = TOLERANCES[weight.dtype]
    if not error <= allowed:
        raise RuntimeError(
            f"{name}: a layer differs from its definition by {error:.1e}, allowed: {allowed}"
        )
    return error
