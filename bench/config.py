"""Configuration into typed, checked settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.data.problems import DataSettings
from bench.data.prompts import Protocol, in_style
from bench.errors import InputError, printable, warn_once
from bench.fields import OTHER, check_values, chosen, is_number, read_section, read_seed, typed
from bench.models.settings import DTYPES, ModelSettings, in_source
from bench.names import plain_curvature
from bench.training.settings import TrainSettings

PROJECT = Path(__file__).resolve().parent.parent

AUTO = "auto"  # a curvature measured for each layer
SPLITS = ("test", "validation", "none")
BATCHINGS = ("static", "continuous")


def from_project(folder: str) -> Path:
    """A folder given in the configuration; relative paths are relative to the project."""
    if not folder.strip():
        raise InputError(
            "a folder is empty (an unset variable?): give one, such as tracking.folder=results"
        )
    return PROJECT / Path(folder).expanduser()


# Variants of HypLoRA whose configured curvature is a raw parameter, of any sign.
RAW_CURVATURE = ("authors", "authors_simplified")


@dataclass(frozen=True)
class MethodSettings:
    """A PEFT method with its options.

    Attributes:
        module: in bench/methods/, turns the options into a peft configuration.
        trained: False for the base model itself.
        options: of the method's configuration (r, lora_alpha, target_modules, ...), with
            `curvature` if the method has one: a number, or `auto`, measured for each layer on
            validation rows.
        lr: peak learning rate by name of the base model; `other` for bases not named.
    """

    name: str
    module: str
    trained: bool
    options: dict[str, Any]
    lr: dict[str, float]

    def __post_init__(self) -> None:
        K: Any = self.curvature
        raw = self.options.get("variant") in RAW_CURVATURE
        in_range = is_number(K) and math.isfinite(K) and (raw or K > 0)
        if K not in (None, AUTO) and not in_range:
            meaning = (
                "the raw parameter" if raw else "the paper's K: the sectional curvature is -1/K"
            )
            raise InputError(
                f"curvature must be a {'finite' if raw else 'positive'} number, got {K!r} "
                f"({meaning}), or 'auto', which measures one for each layer"
            )
        if not all(is_number(rate) for rate in self.lr.values()):
            raise InputError(f"method.lr must be a number for each base, got {self.lr!r}")
        targets = self.options.get("target_modules")
        listed = isinstance(targets, list) and targets and all(isinstance(t, str) for t in targets)
        if not (targets is None or isinstance(targets, str) or listed):
            raise InputError(
                f"method.target_modules must name layers, got {targets!r}: "
                "write 'method.target_modules=[q_proj,v_proj]'"
            )
        rank = self.options.get("r", 1)
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise InputError(f"method.r must be a whole number of at least 1, got {rank!r}")

    @property
    def curvature(self) -> float | str | None:
        """The curvature parameter K, or `auto`; None for a method without one."""
        return self.options.get("curvature")


@dataclass(frozen=True)
class EvaluationSettings:
    """What a model is evaluated on.

    Attributes:
        batch_size: prompts in a batch; in float32 it changes no prediction.
        split: `test`; `validation` to choose settings without seeing a test row; or `none` to only
            train.
        lm_eval: additional lm-eval tasks, groups or tags.
        lm_eval_fewshot: examples in their prompts; None: each task's own number.
        lm_eval_limit: maximum number of rows of each task; None for all.
        lm_eval_include: folder with further task files.
        forgetting: general text whose loss is measured before and after fine-tuning: `embedded`,
            or a text file; None for none.
        dtype: dtype of the base's weights in the evaluation; None for `model.dtype`.
        batching: batching of greedy decoding: `static` or `continuous`. A model without paged
            attention is decoded in static batches.
        compile: run the model's decoder through torch.compile.
    """

    batch_size: int
    split: str = "test"
    lm_eval: list[str] = field(default_factory=list)
    lm_eval_fewshot: int | None = None
    lm_eval_limit: int | None = None
    lm_eval_include: str | None = None
    forgetting: str | None = None
    dtype: str | None = None
    batching: str = BATCHINGS[0]
    compile: bool = False

    def __post_init__(self) -> None:
        dtypes = [dtype for dtype in DTYPES if dtype != "auto"]
        check_values(
            "evaluation",
            self,
            least={"batch_size": 1, "lm_eval_fewshot": 0, "lm_eval_limit": 1},
            choices={"batching": BATCHINGS, "dtype": dtypes, "split": SPLITS},
        )
        if self.compile and self.batching == "continuous":
            raise InputError(
                "evaluation.compile=true needs evaluation.batching=static, because a paged cache "
                "can't be compiled: change one of them"
            )


@dataclass(frozen=True)
class TrackingSettings:
    """Where runs are recorded.

    Attributes:
        folder: the results folder.
        uri: address of an MLflow server or database; None for sqlite in the folder.
        experiment: its name in the store.
        parent: id of the sweep's own run in the store, for a run of a sweep.
    """

    folder: str
    uri: str | None
    experiment: str
    parent: str | None = None

    def __post_init__(self) -> None:
        if not self.experiment.strip():
            raise InputError("tracking.experiment is empty: give a name")

    @property
    def results(self) -> Path:
        """The results folder as a path."""
        return from_project(self.folder)


@dataclass(frozen=True)
class Experiment:
    """One fine-tuning run."""

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
        """Whether the run trains: False for the base itself and for a saved adapter."""
        return self.method.trained and self.adapter is None

    @property
    def trained_base(self) -> ModelSettings:
        """The base as it is trained: in float32 if `train.precision` asks for it."""
        return replace(self.model, dtype="float32") if self.train.float32 else self.model

    @property
    def evaluated_base(self) -> ModelSettings:
        """The base as it is evaluated."""
        dtype = self.evaluation.dtype
        return replace(self.model, dtype=dtype) if dtype else self.model

    @property
    def sharded(self) -> bool:
        """Whether the run trains an adapter of a base that is sharded over several devices."""
        return self.trained and self.train.sharded

    @property
    def name(self) -> str:
        """The run's name in progress and in the tracking store."""
        parts, K = [self.method.name], self.method.curvature
        if K is not None:
            parts.append(f"K={plain_curvature(K)}")
        if self.adapter is not None:
            adapter = Path(self.adapter)
            parts.append(f"from {(adapter.parent if adapter.name == 'adapter' else adapter).name}")
        elif self.method.trained:
            parts.append(f"seed {self.seed}")
        return printable(" ".join(parts))

    @property
    def keeps_overlap(self) -> bool:
        """Whether training rows that are also test rows stay: `data` overrides the protocol."""
        kept = self.data.keep_overlap
        return self.protocol.keep_overlap if kept is None else kept


SECTIONS = {
    "model": ModelSettings,
    "data": DataSettings,
    "train": TrainSettings,
    "protocol": Protocol,
    "evaluation": EvaluationSettings,
    "tracking": TrackingSettings,
}


def read_experiment(config: dict[str, Any]) -> Experiment:
    """The experiment that a resolved configuration, in plain containers, describes.

    Raises:
        InputError: a value has the wrong type, is out of range, or contradicts another one.
    """
    _refuse_pretraining(config)
    model = in_source(config["model"])
    if model["name"] is None:
        path = Path(str(model["path"])).expanduser()
        named = path.stem if path.is_file() else path.name
        model["name"] = named if path.exists() else str(model["path"])
    method = read_method(config["method"], model["name"], model["published"])
    train = {key: chosen(value, method.name) for key, value in config["train"].items()}
    train.pop("adapter", None)  # conf/method/ refers to it
    if train["lr"] is None:
        # An untrained method has no use for its rate.
        rate = method.lr.get(model["name"], method.lr.get(OTHER))
        train["lr"] = rate if method.trained else 1.0
        if train["lr"] is None:
            raise InputError(
                f"method {method.name} has no learning rate for base {model['name']}: "
                "give train.lr=RATE"
            )
    protocol = in_style(config["protocol"], model.get("prompt_style"))
    given = config | {"train": train, "model": model, "protocol": protocol}
    experiment = Experiment(
        method=method,
        seed=read_seed(config["seed"]),
        force=typed("force", config["force"], "bool"),
        adapter=_adapter(config["adapter"]),
        **{name: read_section(kind, name, given[name]) for name, kind in SECTIONS.items()},
    )
    _check_validation(experiment)
    compiles = (experiment.train.compile and experiment.trained) or experiment.evaluation.compile
    if experiment.model.kernels and compiles:
        raise InputError(
            "model.kernels=liger can't be combined with train.compile=true or "
            "evaluation.compile=true, which fuse the same operations: leave one of them out"
        )
    if experiment.trained:
        _compare_with_published(experiment, config)
    return experiment


def _compare_with_published(experiment: Experiment, config: dict[str, Any]) -> None:
    """Warn of a preset's alpha that may belong to another base or curvature."""
    method, model, adapter = experiment.method, experiment.model, config["train"]["adapter"]
    alpha, by_base = method.options.get("lora_alpha"), config["method"].get("lora_alpha")
    if isinstance(by_base, dict) and model.published is None and model.path != "embedded":
        listed = ", ".join(f"{value} for {name}" for name, value in by_base.items())
        warn_once(
            f"method.lora_alpha={alpha}: the published one depends on the base ({listed}), but "
            f"the published name of {model.name} is unknown: if it is one of these, give "
            "model.published=NAME"
        )
    simplified = method.options.get("variant") == "authors_simplified"
    K = adapter.get("simplified_curvature")
    if simplified and K not in (None, method.curvature) and alpha == adapter["simplified_alpha"]:
        warn_once(
            f"method.lora_alpha={alpha} was published with curvature={K:g}, but this run has "
            f"curvature={method.curvature}: give curvature={K:g}"
        )


def _adapter(value: Any) -> str | None:
    folder = typed("adapter", value, "str | None")
    if folder is not None and not folder.strip():
        raise InputError(
            "adapter= is empty (an unset variable?): give the folder of a saved adapter, such as "
            "results/runs/ID/adapter, or leave out the key to train one"
        )
    return folder


def _refuse_pretraining(config: dict[str, Any]) -> None:
    if "kind" in config["model"]:
        name = config["model"]["name"]
        raise InputError(
            f"model={name} has random weights: pretrain it with action=pretrain model={name}, and "
            "then give model=local model.path=results/runs/ID/model"
        )
    if config["data"]["source"] == "text":
        raise InputError(
            "data=text is for pretraining (action=pretrain); fine-tuning and evaluation need "
            "problems: data=synthetic, llm_adapters, math10k or commonsense170k"
        )


def _check_validation(experiment: Experiment) -> None:
    """Refuse settings that need validation rows if there are none."""
    evaluates = experiment.evaluation.split != "none" or experiment.evaluation.lm_eval
    if not evaluates and not experiment.trained:
        raise InputError(
            "nothing to do: this run trains nothing, and evaluation.split=none evaluates nothing"
        )
    validates = experiment.evaluation.split == "validation"
    if validates and not experiment.trained:
        raise InputError(
            "evaluation.split=validation needs the validation rows of a training run, but this run "
            "trains nothing: leave it out"
        )
    if experiment.data.validation > 0 or not experiment.trained:
        return
    if validates:
        raise InputError("evaluation.split=validation needs rows: give data.validation=60")
    if experiment.train.keep == "best":
        raise InputError("train.keep=best needs validation rows: give data.validation=120")
    if experiment.method.curvature == AUTO:
        raise InputError(
            "curvature=auto is measured on validation rows: give data.validation=60, or a number "
            "for curvature"
        )


def read_method(section: dict[str, Any], *base: str | None) -> MethodSettings:
    """A method from the keys of its file in conf/method/, with options by name of the base.

    Raises:
        InputError: a value has the wrong type or is out of range.
    """
    own = {"name": "str", "module": "str", "trained": "bool"}
    rates = section["lr"]
    if not isinstance(rates, dict):
        raise InputError(
            f"method.lr must map bases to learning rates, got {rates!r}: to set the rate of this "
            "run, give train.lr=RATE"
        )
    return MethodSettings(
        **{key: typed(f"method.{key}", section[key], kind) for key, kind in own.items()},
        lr=rates,
        options={k: chosen(v, *base) for k, v in section.items() if k not in own and k != "lr"},
    )


def read_tracking(config: dict[str, Any]) -> TrackingSettings:
    """The `tracking` section of a resolved configuration."""
    return read_section(TrackingSettings, "tracking", config["tracking"])


def read_action(kind: type, config: dict[str, Any]) -> Any:
    """The `action` section of a resolved configuration as a settings dataclass."""
    given = {key: value for key, value in config["action"].items() if key != "name"}
    return read_section(kind, "action", given)
