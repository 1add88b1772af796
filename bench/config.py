"""The typed experiment: what the configuration says, checked."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data.problems import DataSettings
from bench.data.prompts import Protocol, in_style
from bench.errors import InputError, printable, unknown
from bench.models.settings import ModelSettings
from bench.training.settings import TrainSettings

PROJECT = Path(__file__).resolve().parent.parent

OTHER = "other"  # in a value by names: for those that are not named
AUTO = "auto"  # a curvature that is measured, one for each layer
SEEDS = 2**63  # what torch's generators take
SPLITS = ("test", "validation")


def results_folder(folder: str) -> Path:
    """Where runs and tables are written; a relative path is taken from the project."""
    return PROJECT / Path(folder).expanduser()


@dataclass(frozen=True)
class MethodSettings:
    """A PEFT method with its options.

    Attributes:
        name: the file in conf/method/, and the row in a table.
        module: the module in bench/methods/ that turns the options into a peft configuration.
        trained: False for the base model as it is.
        options: what the method's configuration takes (r, lora_alpha, target_modules, ...);
            `curvature` is among them for the methods that have one, and only for those: a number,
            or `auto` for one of each layer's own, measured on validation rows.
        lr: the peak learning rate by the base model's name; `other` for bases not named.
    """

    name: str
    module: str
    trained: bool
    options: dict[str, Any]
    lr: dict[str, float]

    def __post_init__(self) -> None:
        curvature: Any = self.curvature
        known = curvature is None or curvature == AUTO
        if not known and not (is_number(curvature) and 0 < curvature < math.inf):
            raise InputError(
                f"curvature must be a positive number, got {curvature!r}: it is the paper's K, "
                "the sectional curvature is -1/K; or 'auto', which measures one for each layer"
            )
        if not all(is_number(rate) for rate in self.lr.values()):
            raise InputError(f"method.lr must be a number for each base, got {self.lr!r}")
        targets = self.options.get("target_modules")
        named = targets is None or isinstance(targets, str)
        if not named and not (
            isinstance(targets, list) and targets and all(isinstance(t, str) for t in targets)
        ):
            raise InputError(
                f"method.target_modules must name layers, got {targets!r}: "
                "write 'method.target_modules=[q_proj,v_proj]'"
            )
        rank = self.options.get("r", 1)
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise InputError(f"method.r must be a whole number of at least 1, got {rank!r}")

    @property
    def curvature(self) -> float | str | None:
        """The curvature parameter K, or `auto`; None for a method that has none."""
        return self.options.get("curvature")


@dataclass(frozen=True)
class EvaluationSettings:
    """What is asked, and how.

    Attributes:
        batch_size: prompts at once; in float32 it changes no answer.
        split: `test`, or `validation` for the choice of settings: no test row is asked then.
        lm_eval: names of lm-eval tasks, groups or tags to ask, too.
        lm_eval_fewshot: examples in their prompts; None: each task's own number.
        lm_eval_limit: at most so many rows of each task; None for all.
        lm_eval_include: a folder with task files of one's own.
        forgetting: a general text to take the loss on, before and after fine-tuning: `embedded`, or
            a text file; None for none.
    """

    batch_size: int
    split: str = "test"
    lm_eval: list[str] = field(default_factory=list)
    lm_eval_fewshot: int | None = None
    lm_eval_limit: int | None = None
    lm_eval_include: str | None = None
    forgetting: str | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise unknown("evaluation.split", self.split, SPLITS)
        for name, least in (("batch_size", 1), ("lm_eval_fewshot", 0), ("lm_eval_limit", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"evaluation.{name} must be at least {least}, got {value}")


@dataclass(frozen=True)
class TrackingSettings:
    """Where runs are recorded.

    Attributes:
        folder: that runs and tables are written to.
        uri: of an MLflow server or database; None for sqlite in the folder.
        experiment: its name in the store.
        parent: the store's id of the sweep that a run belongs to.
    """

    folder: str
    uri: str | None
    experiment: str
    parent: str | None = None


@dataclass(frozen=True)
class Experiment:
    """One run, typed and checked: nothing below this knows of configuration files."""

    method: MethodSettings
    model: ModelSettings
    data: DataSettings
    train: TrainSettings
    protocol: Protocol
    evaluation: EvaluationSettings
    tracking: TrackingSettings
    seed: int
    force: bool
    adapter: str | None

    @property
    def trained(self) -> bool:
        """Whether this run trains; not so for the base as it is, nor for a saved adapter."""
        return self.method.trained and self.adapter is None

    @property
    def name(self) -> str:
        """What progress and the tracking store call the run."""
        parts = [self.method.name]
        if self.method.curvature is not None:
            K = self.method.curvature
            parts.append(f"K={K}" if isinstance(K, str) else f"K={K:g}")
        if self.adapter is not None:
            adapter = Path(self.adapter)
            parts.append(f"from {(adapter.parent if adapter.name == 'adapter' else adapter).name}")
        elif self.method.trained:
            parts.append(f"seed {self.seed}")
        return printable(" ".join(parts))

    @property
    def keeps_overlap(self) -> bool:
        """Whether training rows that stand in a test set stay: the protocol's say, or `data`'s."""
        if self.data.keep_overlap is None:
            return self.protocol.keep_overlap
        return self.data.keep_overlap

    @property
    def results(self) -> Path:
        """The folder that runs are written to."""
        return results_folder(self.tracking.folder)


SECTIONS = {
    "model": ModelSettings,
    "data": DataSettings,
    "train": TrainSettings,
    "protocol": Protocol,
    "evaluation": EvaluationSettings,
    "tracking": TrackingSettings,
}


def read_experiment(config: dict[str, Any]) -> Experiment:
    """The experiment that a resolved configuration describes.

    Args:
        config: plain containers, as `OmegaConf.to_container(cfg, resolve=True)` gives.

    Raises:
        InputError: a value of the wrong type or out of its range.
    """
    _refuse_what_is_pretrained(config)
    model = dict(config["model"])
    if model["name"] is None:
        folder = Path(str(model["path"])).expanduser()
        model["name"] = folder.name if folder.is_dir() else str(model["path"])
    method = read_method(config["method"], model["name"])
    train = {key: chosen(value, method.name) for key, value in config["train"].items()}
    train.pop("adapter", None)  # what conf/method/ takes from there
    if train["lr"] is None and method.trained:
        train["lr"] = method.lr.get(model["name"], method.lr.get("other"))
        if train["lr"] is None:
            raise InputError(
                f"method {method.name} has no learning rate for base {model['name']}: "
                "give train.lr=RATE"
            )
    elif train["lr"] is None:
        train["lr"] = 1.0  # never used where nothing is trained
    protocol = in_style(config["protocol"], model.get("prompt_style"))
    given = config | {"train": train, "model": model, "protocol": protocol}
    sections = {name: read_section(kind, name, given[name]) for name, kind in SECTIONS.items()}
    experiment = Experiment(
        method=method,
        seed=read_seed(config["seed"]),
        force=read_switch("force", config["force"]),
        adapter=_typed("adapter", config["adapter"], "str | None"),
        **sections,
    )
    if experiment.evaluation.split == "validation":
        if not experiment.trained:
            raise InputError(
                "evaluation.split=validation asks the validation rows of what a run trains on, "
                "and this run trains nothing: leave it out"
            )
        if experiment.data.validation == 0:
            raise InputError("evaluation.split=validation needs rows: give data.validation=60")
    if experiment.trained and experiment.train.keep == "best" and experiment.data.validation == 0:
        raise InputError("train.keep=best needs validation rows: give data.validation=120")
    if experiment.trained and method.curvature == AUTO and experiment.data.validation == 0:
        raise InputError(
            "curvature=auto is measured on validation rows: give data.validation=60, or a number "
            "for curvature"
        )
    return experiment


def _refuse_what_is_pretrained(config: dict[str, Any]) -> None:
    if "kind" in config["model"]:
        name = config["model"]["name"]
        raise InputError(
            f"model={name} has random weights: pretrain it with action=pretrain model={name}, and "
            "then give model=local model.path=results/runs/ID/model"
        )
    if config["data"]["source"] == "text":
        raise InputError(
            "data=text is text to pretrain on, action=pretrain; what a base is fine-tuned and "
            "tested on are problems: data=synthetic, llm_adapters, math10k or commonsense170k"
        )


def read_seed(seed: Any) -> int:
    """A seed, if it is one.

    Raises:
        InputError: it is not.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS:
        raise InputError(f"seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")
    return seed


def read_switch(name: str, value: Any) -> bool:
    """A value that is true or false.

    Raises:
        InputError: it is neither.
    """
    return bool(_typed(name, value, "bool"))


def read_method(section: dict[str, Any], base: str = OTHER) -> MethodSettings:
    """A method from the keys of its file in conf/method/.

    Args:
        section: those keys.
        base: its name chooses of an option that differs by base.

    Raises:
        InputError: a curvature or a rank out of its range.
    """
    own = {"name": "str", "module": "str", "trained": "bool"}
    rates = section["lr"]
    if not isinstance(rates, dict):
        raise InputError(
            f"method.lr has a rate for each base, got {rates!r}: give train.lr=RATE for this run"
        )
    return MethodSettings(
        **{key: _typed(f"method.{key}", section[key], kind) for key, kind in own.items()},
        lr=rates,
        options={k: chosen(v, base) for k, v in section.items() if k not in own and k != "lr"},
    )


def chosen(value: Any, name: str) -> Any:
    """The value for a name, of one that is given by names and for all `other` ones."""
    if isinstance(value, dict) and OTHER in value:
        return value.get(name, value[OTHER])
    return value


def read_section(kind: type, name: str, values: dict[str, Any]) -> Any:
    """A settings dataclass from plain values, each checked against the type it is declared with.

    Args:
        kind: the dataclass.
        name: of the section, for messages.
        values: by the names of its fields.

    Raises:
        InputError: a value of another type, or a key that the dataclass does not have.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in fields:
            raise unknown(f"key in {name}", key, fields)
        values = values | {key: _typed(f"{name}.{key}", value, str(fields[key].type))}
    return kind(**values)


def _typed(name: str, value: Any, declared: str) -> Any:
    """The value, if it has the declared type; a whole number will do for a float."""
    kinds = declared.split(" | ")
    if value is None and "None" in kinds:
        return None
    if "float" in kinds and is_number(value) and math.isfinite(value):
        return float(value)
    if "int" in kinds and isinstance(value, int) and not isinstance(value, bool):
        return value
    if "bool" in kinds and isinstance(value, bool):
        return value
    if "str" in kinds and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    if "list[str]" in kinds and isinstance(value, list):
        return [_typed(f"each entry of {name}", item, "str") for item in value]
    wanted = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    if "list[str]" in kinds:
        raise InputError(f"{name} must be a list, got {value!r}: write '{name}=[{value}]'")
    raise InputError(f"{name} must be {wanted[kinds[0]]}, got {value!r}")


def is_number(value: Any) -> bool:
    """Whether a value is a number; a switch is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
