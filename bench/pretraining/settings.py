"""The typed pretraining run: what the configuration says, checked, and what makes its identity."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.config import (
    EvaluationSettings,
    TrackingSettings,
    chosen,
    read_section,
    read_seed,
    read_switch,
    results_folder,
)
from bench.data.text import TextSettings
from bench.errors import InputError
from bench.models.untrained import UntrainedSettings
from bench.training.pretrain_settings import PretrainSettings

# Raised by hand when a change to the code alters results: finished runs then count no longer.
PRETRAIN_VERSION = 1

OF_MODEL = ("name", "kind", "size", "tokenizer")
OF_TEXT = {"text": ("source", "path", "separator", "field"), "synthetic": ("source", "seed")}
ELSEWHERE = ("name", "documents")  # keys of the action that are none of PretrainSettings


@dataclass(frozen=True)
class Pretraining:
    """One pretraining run, typed and checked: nothing below this knows of configuration files."""

    model: UntrainedSettings
    text: TextSettings
    train: PretrainSettings
    evaluation: EvaluationSettings  # of which the tasks of lm-eval are asked
    tracking: TrackingSettings
    seed: int
    force: bool

    @property
    def name(self) -> str:
        """What progress and the tracking store call the run."""
        return f"{self.model.name} {self.model.size} seed {self.seed}"

    @property
    def results(self) -> Path:
        """The folder that runs are written to."""
        return results_folder(self.tracking.folder)


def read_pretraining(config: dict[str, Any]) -> Pretraining:
    """The pretraining run that a resolved configuration describes.

    Args:
        config: plain containers, as `OmegaConf.to_container(cfg, resolve=True)` gives.

    Raises:
        InputError: a value of the wrong type or out of its range, or a model or data that
            nothing can be pretrained of.
    """
    model, action, data = (dict(config[key]) for key in ("model", "action", "data"))
    if "kind" not in model:
        raise InputError(
            f"action=pretrain begins with random weights, and model={model.get('name')} is a base "
            "that has weights: give model=helm_d, helm_mice, llama_twin or deepseek_twin"
        )
    size, kind = str(config["size"]), str(model["kind"])
    # By size, and of a size by model.
    given = {key: chosen(chosen(action[key], size), kind) for key in action if key not in ELSEWHERE}
    train = read_section(PretrainSettings, "action", given)
    text = {key: data[key] for key in OF_TEXT.get(data["source"], ("source",)) if key in data}
    text["documents"] = action["documents"]
    own = {key: model.pop(key) for key in OF_MODEL}
    return Pretraining(
        model=UntrainedSettings(**{k: str(v) for k, v in own.items()}, choices=model),
        text=read_section(TextSettings, "data", text),
        train=train,
        evaluation=read_section(EvaluationSettings, "evaluation", config["evaluation"]),
        tracking=read_section(TrackingSettings, "tracking", config["tracking"]),
        seed=read_seed(config["seed"]),
        force=read_switch("force", config["force"]),
    )


def identity(
    run: Pretraining, architecture: dict[str, Any], hashes: dict[str, str], precision: str
) -> str:
    """sha256 over all that can change what a run learns and is measured by.

    Contents stand for what names them: hashes for text and tokenizer, the whole configuration for
    kind, size and choices. Left out are places, how often things are saved and measured, the tasks
    that the finished model is asked, and in float32 the rows of a forward pass and the number of
    devices, which only split a step.

    Args:
        run: the run.
        architecture: the model's configuration, as plain data.
        hashes: of text and tokenizer.
        precision: of the training, resolved for the device.
    """
    train = asdict(run.train) | {"precision": precision}
    for key in ("checkpoint_minutes", "evaluations"):
        train.pop(key)
    exact = precision == "32-true"
    if exact:
        train.pop("micro_rows")
    if exact or run.train.devices == 1:
        train.pop("devices")
        train.pop("sharded")
    fields = {
        "kind": "pretrain",
        "version": PRETRAIN_VERSION,
        "architecture": {k: v for k, v in architecture.items() if k != "transformers_version"},
        "hashes": hashes,
        "train": train,
        "seed": run.seed,
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
