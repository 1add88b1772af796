"""Pretraining of the embedded base: `make tiny-base` or `python bench/run.py action=pretrain`."""

from __future__ import annotations

import itertools
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from bench.data.synthetic.corpus import documents
from bench.models.tiny_base import llama_config
from bench.models.tokenizer import train_tokenizer
from bench.training.callbacks import ShowProgress
from bench.training.console import quiet_lightning
from bench.training.optimizer import adamw, learning_rate_factor

TOKENIZER_DOCUMENTS = 20_000
VALIDATION_DOCUMENTS = 500


@dataclass(frozen=True)
class PretrainSettings:
    """How the embedded base is made; the defaults stand in conf/action/pretrain.yaml."""

    output: str
    seed: int
    steps: int
    batch_size: int
    row_tokens: int
    vocab_size: int
    lr: float
    warmup: int
    flat: float
    weight_decay: float
    precision: str


class PackedRows(Dataset):
    """Rows of equal length cut from a stream of documents, `<s> document </s>` after another."""

    def __init__(self, tokens: torch.Tensor, row_tokens: int) -> None:
        self.rows = tokens[: len(tokens) // row_tokens * row_tokens].view(-1, row_tokens)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.rows[index].long()


def tokens_of(tokenizer: PreTrainedTokenizerBase, seed: int, count: int) -> torch.Tensor:
    """The first `count` tokens of the corpus with this seed, int16, shape (count,)."""
    chunks, have, stream = [], 0, documents(seed)
    while have < count:
        for ids in tokenizer(list(itertools.islice(stream, 1000)))["input_ids"]:
            chunks += [*ids, tokenizer.eos_token_id]
            have = len(chunks)
    return torch.tensor(chunks[:count], dtype=torch.int16)


class Pretraining(L.LightningModule):
    """Next-token prediction on packed rows."""

    def __init__(self, model: LlamaForCausalLM, settings: PretrainSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.total_steps = settings.steps
        self.last_loss = torch.zeros(())

    def _loss(self, rows: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=rows, labels=rows, use_cache=False).loss

    def training_step(self, rows: torch.Tensor, index: int) -> torch.Tensor:
        loss = self._loss(rows)
        self.last_loss = loss.detach()
        return loss

    def validation_step(self, rows: torch.Tensor, index: int) -> None:
        self.log("validation_loss", self._loss(rows))

    def configure_optimizers(self) -> dict:
        s = self.settings
        optimizer = adamw(self.named_parameters(), s.lr, s.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(step, s.steps, s.warmup, "cosine", s.flat),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def pretrain(settings: PretrainSettings) -> Path:
    """Make the embedded base: corpus, tokenizer, weights, and a record of how.

    Args:
        settings: the recipe; `output` is the folder that is written (or written over).

    Returns:
        The folder, with config, tokenizer, bf16 safetensors weights and pretraining.json.
    """
    L.seed_everything(settings.seed, verbose=False)
    started, cpu_started = time.perf_counter(), time.process_time()
    print(f"tokenizer from {TOKENIZER_DOCUMENTS:,} documents ...", flush=True)
    texts = list(itertools.islice(documents(settings.seed), TOKENIZER_DOCUMENTS))
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    wanted = settings.steps * settings.batch_size * settings.row_tokens
    print(f"vocabulary {len(tokenizer):,}; corpus of {wanted:,} tokens ...", flush=True)
    rows = PackedRows(tokens_of(tokenizer, settings.seed, wanted), settings.row_tokens)
    held_out = PackedRows(
        tokens_of(tokenizer, settings.seed + 1, VALIDATION_DOCUMENTS * settings.row_tokens),
        settings.row_tokens,
    )
    module = Pretraining(LlamaForCausalLM(llama_config(tokenizer)), settings)
    quiet_lightning()
    trainer = L.Trainer(
        max_steps=settings.steps,
        precision=settings.precision,
        gradient_clip_val=1.0,
        val_check_interval=max(1, settings.steps // 5),
        num_sanity_val_steps=0,
        logger=False,
        callbacks=[ShowProgress("pretraining")],
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(
        module,
        DataLoader(rows, settings.batch_size, shuffle=False, drop_last=True),
        DataLoader(held_out, 64),
    )
    output = Path(settings.output)
    model = module.model.to(torch.bfloat16)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    record = {
        "settings": {k: v for k, v in asdict(settings).items() if k != "output"},
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": len(tokenizer),
        "tokens": wanted,
        "loss": round(float(module.last_loss), 4),
        "validation_loss": round(float(trainer.callback_metrics["validation_loss"]), 4),
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(time.process_time() - cpu_started),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "torch": torch.__version__,
    }
    (output / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")
    return output
