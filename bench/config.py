"""The typed experiment: what the configuration says, checked, and what makes a run's identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.problems import DataSettings
from bench.data.prompts import Protocol
from bench.errors import InputError, unknown
from bench.models.settings import ModelSettings
from bench.training.settings import TrainSettings

PROJECT = Path(__file__).resolve().parent.parent

# Raised by hand when a change to the code alters results: finished runs then count no longer.
RESULT_VERSION = 2

FLOAT32 = "torch.float32"
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
            `curvature` is among them for the methods that have one, and only for those.
        lr: the peak learning rate by the base model's name; `other` for bases not named.
    """

    name: str
    module: str
    trained: bool
    options: dict[str, Any]
    lr: dict[str, float]

    def __post_init__(self) -> None:
        curvature = self.curvature
        if curvature is not None and not (_is_number(curvature) and 0 < curvature < math.inf):
            raise InputError(
                f"curvature must be a positive number, got {curvature!r}: it is the paper's K, "
                "the sectional curvature is -1/K"
            )
        rank = self.options.get("r", 1)
        if not isinstance(rank, int) or rank < 1:
            raise InputError(f"method.r must be a whole number of at least 1, got {rank!r}")

    @property
    def curvature(self) -> float | None:
        """The curvature parameter K; None for a method that has none."""
        return self.options.get("curvature")


@dataclass(frozen=True)
class EvaluationSettings:
    """What is asked, and how.

    Attributes:
        batch_size: prompts at once; in float32 it changes no answer.
        split: `test`, or `validation` for the choice of settings: no test row is asked then.
    """

    batch_size: int
    split: str = "test"

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise unknown("evaluation.split", self.split, SPLITS)
        if self.batch_size < 1:
            raise InputError(f"evaluation.batch_size must be at least 1, got {self.batch_size}")


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
            parts.append(f"K={self.method.curvature:g}")
        if self.adapter is not None:
            adapter = Path(self.adapter)
            parts.append(f"from {(adapter.parent if adapter.name == 'adapter' else adapter).name}")
        elif self.method.trained:
            parts.append(f"seed {self.seed}")
        return " ".join(parts)

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
    method = read_method(config["method"])
    train = dict(config["train"])
    if train["lr"] is None and method.trained:
        train["lr"] = method.lr.get(config["model"]["name"], method.lr.get("other"))
        if train["lr"] is None:
            raise InputError(
                f"method {method.name} has no learning rate for base {config['model']['name']}: "
                "give train.lr=RATE"
            )
    elif train["lr"] is None:
        train["lr"] = 1.0  # never used where nothing is trained
    model = dict(config["model"])
    if model["name"] is None:
        folder = Path(str(model["path"])).expanduser()
        model["name"] = folder.name if folder.is_dir() else str(model["path"])
    given = config | {"train": train, "model": model}
    sections = {name: read_section(kind, name, given[name]) for name, kind in SECTIONS.items()}
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed must be a whole number of at least 0, got {seed!r}")
    experiment = Experiment(
        method=method,
        seed=seed,
        force=_typed("force", config["force"], "bool"),
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
    return experiment


def read_method(section: dict[str, Any]) -> MethodSettings:
    """A method from the keys of its file in conf/method/.

    Raises:
        InputError: a curvature or a rank out of its range.
    """
    own = {"name", "module", "trained", "lr"}
    return MethodSettings(
        **{key: section[key] for key in own},
        options={key: value for key, value in section.items() if key not in own},
    )


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
    if "float" in kinds and _is_number(value) and math.isfinite(value):
        return float(value)
    if "int" in kinds and isinstance(value, int) and not isinstance(value, bool):
        return value
    if "bool" in kinds and isinstance(value, bool):
        return value
    if "str" in kinds and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    if "list[str]" in kinds and isinstance(value, list):
        return [str(item) for item in value]
    wanted = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    if "list[str]" in kinds:
        raise InputError(f"{name} must be a list, got {value!r}: write '{name}=[{value}]'")
    raise InputError(f"{name} must be {wanted[kinds[0]]}, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def identity(experiment: Experiment, hashes: dict[str, str], precision: str, dtype: str) -> str:
    """sha256 over all that can change a run's result.

    Contents stand for what names them: the hash of the rows for every setting of `data`, the hash
    of the weights for the base's name and path. Left out is what cannot change a result: where
    and how often things are saved, `force`, and in float32 the batch sizes and the number of
    devices, which only split work; the training settings, the training rows and the seed where
    nothing is trained. A curvature is among the options of the methods that have one, so for the
    others it makes no difference.

    Args:
        experiment: the run.
        hashes: content hashes of base, test rows, and training rows or adapter.
        precision: of the training, resolved for the device.
        dtype: of the base's weights, resolved for the device.
    """
    protocol = dataclasses.asdict(experiment.protocol)
    protocol.pop("keep_overlap")  # the hash of the training rows says it
    fields = {
        "result_version": RESULT_VERSION,
        "method": experiment.method.name,
        "module": experiment.method.module,
        "dtype": dtype,
        "protocol": protocol,
        "hashes": hashes,
    }
    # Rounding then depends on the shape of a batch, and of int8 on what else is in it.
    quantised = experiment.model.quantization is not None
    if dtype != FLOAT32 or quantised:
        fields["evaluation"] = {"batch_size": experiment.evaluation.batch_size}
    if experiment.evaluation.split != "test":
        fields["split"] = experiment.evaluation.split
    if experiment.model.context is not None:
        fields["context"] = experiment.model.context
    if quantised:
        fields["quantization"] = experiment.model.quantization
    if experiment.trained:
        train = dataclasses.asdict(experiment.train) | {"precision": precision}
        for key in ("validations", "checkpoint_minutes"):
            train.pop(key)
        exact = dtype == FLOAT32 and precision == "32-true" and not quantised
        if exact:
            train.pop("micro_batch_size")
        if exact or train["devices"] == 1:
            train.pop("devices")
        fields |= {
            "options": {key: _plain(value) for key, value in experiment.method.options.items()},
            "train": train,
            "seed": experiment.seed,
        }
    else:
        for key in ("train_prompt", "target", "max_length"):
            protocol.pop(key)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """1 and 1.0 are the same curvature, however they are typed."""
    return float(value) if _is_number(value) else value
