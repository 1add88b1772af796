"""Configuration into the typed, checked settings of a pretraining run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.config import EvaluationSettings, TrackingSettings, read_tracking
from bench.data.text import TextSettings
from bench.data.tokens import HELD_OUT
from bench.errors import InputError, unknown
from bench.fields import chosen, read_section, read_seed, typed
from bench.models.untrained import UntrainedSettings
from bench.training.settings import PretrainSettings

OF_MODEL = ("name", "kind", "size", "tokenizer")
OF_TEXT = {"text": ("source", "path", "separator", "field"), "synthetic": ("source", "seed")}
NOT_TRAIN = ("name", "documents")  # keys of the action that are not in PretrainSettings
OF_BOTH = ("lr", "warmup")  # the model's, unless the action has one


@dataclass(frozen=True)
class Pretraining:
    """One pretraining run."""

    model: UntrainedSettings
    text: TextSettings
    train: PretrainSettings
    evaluation: EvaluationSettings  # only its split and its lm-eval tasks are used
    tracking: TrackingSettings
    seed: int
    force: bool

    @property
    def name(self) -> str:
        """The run's name in progress and in the tracking store."""
        return f"{self.model.name} {self.model.size} seed {self.seed}"


def read_pretraining(config: dict[str, Any]) -> Pretraining:
    """The pretraining run that a resolved configuration, in plain containers, describes."""
    model, action, data = (dict(config[key]) for key in ("model", "action", "data"))
    if "kind" not in model:
        raise InputError(
            f"action=pretrain starts from random weights, but model={model.get('name')} is a "
            "base with weights: give model=helm_d, helm_mice, llama_twin or deepseek_twin"
        )
    size = str(config["size"])
    for key in OF_BOTH:
        of_model = model.pop(key, None)
        if action[key] is None:
            action[key] = of_model
        if action[key] is None:
            raise InputError(f"model={model['name']} has no {key}: give action.{key}")
    # A value may be given by size.
    given = {key: chosen(action[key], size) for key in action if key not in NOT_TRAIN}
    train = read_section(PretrainSettings, "action", given)
    evaluation = read_section(EvaluationSettings, "evaluation", config["evaluation"])
    if evaluation.split not in HELD_OUT:
        raise unknown("evaluation.split of a pretraining run", evaluation.split, HELD_OUT)
    text = {key: data[key] for key in OF_TEXT.get(data["source"], ("source",)) if key in data}
    text["documents"] = action["documents"]
    own = {key: model.pop(key) for key in OF_MODEL}
    return Pretraining(
        model=UntrainedSettings(**{k: str(v) for k, v in own.items()}, choices=model),
        text=read_section(TextSettings, "data", text),
        train=train,
        evaluation=evaluation,
        tracking=read_tracking(config),
        seed=read_seed(config["seed"]),
        force=typed("force", config["force"], "bool"),
    )
