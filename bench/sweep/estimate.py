"""How long runs will take: from earlier runs, else from the sizes of model and data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from bench.data.chat import prompt_ids, training_ids
from bench.data.prompts import evaluation_text, new_tokens, training_text
from bench.efficiency.throughput import matmul_rate
from bench.experiment import prepare
from bench.models.architecture import text_config
from bench.models.loading import pick_device, weight_dtype
from bench.sweep.jobs import Job
from bench.tracking.provenance import device_name
from bench.tracking.record import PRETRAIN
from bench.tracking.store import Store
from bench.training.flops import flops_per_token

RECENT = 9  # finished runs that an estimate is the median of
SAMPLE = 64  # rows whose tokens are counted
# Assumptions of an estimate from sizes: the share of the matrix product's rate that training and
# prompts reach, the time of a layer without its products, and loading from disk.
SHARE = 0.3
LAYER_SECONDS = 4e-4
BYTES_PER_SECOND = 1e9


@dataclass(frozen=True)
class Speed:
    """How long a kind of run takes.

    Attributes:
        training: seconds per training row and epoch; of pretraining, per token.
        evaluation: seconds per evaluated row.
        rest: seconds of a run outside both: loading, saving, recording.
        source: what it was estimated from.
    """

    training: float
    evaluation: float
    rest: float
    source: str

    def seconds(self, job: Job) -> float:
        """How long a job would take."""
        run, (rows, asked) = job.settings, job.rows
        if pretrains(job):
            return self.training * run.train.steps * run.train.step_tokens + self.rest
        epochs = run.train.epochs if run.trained else 0.0
        return self.training * rows * epochs + self.evaluation * asked + self.rest


def pretrains(job: Job) -> bool:
    """Whether a job is a pretraining run."""
    return job.planned.get("kind") == PRETRAIN


def speeds(jobs: Sequence[Job], store: Store) -> dict[tuple[str, ...], Speed | None]:
    """The speed of each kind of run among the jobs; None if it can't be estimated."""
    found: dict[tuple[str, ...], Speed | None] = {}
    for job in jobs:
        if (kind := kind_of(job)) in found:
            continue
        known = _of_pretraining(job, store) if pretrains(job) else _of_finished(job, store)
        if known is None:
            print(f"estimating the time of {' '.join(kind)} from its size", flush=True)
            known = _from_sizes(job)
        found[kind] = known
    return found


def kind_of(job: Job) -> tuple[str, ...]:
    """What the time of a row depends on, apart from the machine."""
    run = job.settings
    if pretrains(job):
        return (run.model.name, run.model.size)
    return (run.method.name, run.model.name, run.data.source, run.protocol.name)


def _of_finished(job: Job, store: Store) -> Speed | None:
    """From runs on the same base, data, protocol and device: of the same method, else of any."""
    run = job.settings
    wanted = {
        "model": run.model.name, "data": run.data.source, "protocol": run.protocol.name,
        "device": device_name(pick_device()),
    }  # fmt: skip
    for method, of in (({"method": run.method.name}, "the same method"), ({}, "other methods")):
        found = [f for f in store.timings(wanted | method, RECENT) if f.get("rows/asked")]
        found = [f for f in found if bool(f["rows/trained"]) == run.trained]
        if found:
            seconds = [f.get("seconds/finetune", 0.0) for f in found]
            pairs = list(zip(seconds, found, strict=True))
            return Speed(
                training=median(t / (f["rows/trained"] or 1.0) for t, f in pairs),
                evaluation=median(f["seconds/evaluate"] / f["rows/asked"] for f in found),
                rest=median(max(0.0, f["total"] - t - f["seconds/evaluate"]) for t, f in pairs),
                source=f"finished runs of {of} on the same base, protocol and device",
            )
    return None


def _of_pretraining(job: Job, store: Store) -> Speed | None:
    model = job.settings.model
    tags = {"model": model.name, "size": model.size, "device": device_name(pick_device())}
    found = store.timings(tags, RECENT)
    rates = [f["tokens_per_second"] for f in found if "tokens_per_second" in f]
    source = "tokens per second of finished runs of the same model on this device"
    return Speed(1 / median(rates), 0.0, 0.0, source) if rates else None


def _from_sizes(job: Job) -> Speed | None:
    """From parameters, tokens and the rate of a matrix product on this device: within seconds."""
    run, device = job.settings, pick_device()
    source = "sizes of model and data, and the speed of a matrix product (rough)"
    try:
        if pretrains(job):
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(
                    run.model.config(run.model.load_tokenizer())
                )
            flops = flops_per_token(model, run.train.row_tokens)
            rate = SHARE * matmul_rate(device, job.planned["train"]["precision"])
            return Speed(flops / rate / run.train.devices, 0.0, 0.0, source)
        path = str(run.model.folder or run.model.path)
        trusted = run.model.trust_remote_code
        options = {"revision": run.model.revision, "trust_remote_code": trusted}
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        config = text_config(AutoConfig.from_pretrained(path, **options))
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trusted)
    except Exception:  # the run itself reports why the base can't be loaded
        return None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    dtype = weight_dtype(run.model.dtype, device)
    rate = SHARE * matmul_rate(device, "bf16-mixed" if dtype != torch.float32 else "32-true")
    size, overhead = parameters * dtype.itemsize, config.num_hidden_layers * LAYER_SECONDS
    problems = prepare(run).problems

    def mean(ids: list[list[int]]) -> float:
        return fmean(map(len, ids)) if ids else 0.0

    train = problems.train[:SAMPLE]
    passes = 8 if run.train.gradient_checkpointing else 6  # twice the parameters forward, 4 back
    rows = [training_text(p, run.protocol) for p in train]
    row = mean(training_ids(rows, tokenizer, run.protocol)[1])
    tokens = run.train.micro_tokens
    at_once = max(1.0, tokens / max(row, 1.0)) if tokens else run.train.micro_batch_size
    training = row * passes * parameters / rate + 3 * overhead / at_once
    asked = [p for rows in problems.split(run.evaluation.split).values() for p in rows][:SAMPLE]
    if not asked:
        return Speed(training, 0.0, size / BYTES_PER_SECOND, source)
    limit = fmean(new_tokens(p, run.protocol) for p in asked)
    # Answers as long as those of the training rows; a base that is not trained may not end them.
    outputs = tokenizer([p.output for p in train])["input_ids"] if train else []
    answer = min(limit, mean(outputs) or limit)
    texts = [evaluation_text(p, run.protocol) for p in asked]
    prompt = mean(prompt_ids(texts, tokenizer, run.protocol))
    batch = run.evaluation.batch_size
    work = 2 * parameters * batch * run.protocol.num_beams / rate
    token = (max(work, size / _bandwidth(device)) + overhead) / batch
    evaluation = 2 * parameters * prompt / rate + answer * token
    return Speed(training, evaluation, size / BYTES_PER_SECOND, source)


def _bandwidth(device: torch.device) -> float:
    """Bytes per second that memory delivers."""
    block = torch.ones(2**26, device=device)
    float(block.sum())
    began = time.perf_counter()
    float(block.sum())
    return block.nbytes / (time.perf_counter() - began)
