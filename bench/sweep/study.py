"""An Optuna study that several processes share and resume."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.pruners import BasePruner, MedianPruner
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from bench.errors import InputError, Pruned, missing_extra
from bench.files import locked

GRACE = 120.0  # seconds without one after which a process counts as dead
PATIENCE = 60.0  # seconds to wait for a database's lock


def open_storage(url: str) -> BaseStorage:
    """The storage of a URL: sqlite:///, postgresql://, or journal:/// for a file on a shared disk.

    Raises:
        InputError: it can't be reached, or its driver is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if url.startswith("journal:///"):
            return JournalStorage(JournalFileBackend(url.removeprefix("journal://")))
        connect: dict[str, Any] = {}
        if url.startswith("sqlite"):
            connect = {"timeout": PATIENCE}
        elif url.startswith("postgresql"):
            connect = {"connect_timeout": 10}
        url = url.replace("{", "{{").replace("}", "}}")  # Optuna formats it
        return RDBStorage(url, engine_kwargs={"connect_args": connect, "pool_pre_ping": True})
    except ImportError as error:
        if "postgresql" in url:
            raise missing_extra(f"storage {url}", "postgres") from error
        raise InputError(f"storage {url}: its driver is missing ({error})") from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise InputError(
            f"storage {url} is not the address of a database: write sqlite:///FILE, "
            "postgresql://HOST/DATABASE or journal:///FILE"
        ) from error
    except (SQLAlchemyError, StorageInternalError, OSError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"storage {url} can't be used: {first}") from error


def open_study(
    url: str,
    name: str,
    directions: Sequence[str],
    definition: Mapping[str, Any],
    lock: Path,
    pruner: BasePruner | None = None,
) -> Study:
    """The study of a search, created if it does not exist, while `lock` is locked.

    The definition distinguishes this search from another.

    Raises:
        InputError: the storage can't be used, or the study belongs to another search.
    """
    text = json.dumps(definition, sort_keys=True)
    with locked(lock, "Optuna's studies"):
        study = optuna.create_study(
            storage=open_storage(url), study_name=name, directions=list(directions),
            load_if_exists=True, pruner=pruner,
        )  # fmt: skip
        stored = study.user_attrs.get("definition")
        if stored is None:
            study.set_user_attr("definition", text)
    if stored not in (None, text) or [d.name.lower() for d in study.directions] != [*directions]:
        known = json.loads(stored) if stored else {}
        unlike = sorted(k for k in {**known, **definition} if known.get(k) != definition.get(k))
        shown = "; ".join(f"{k}: {known.get(k)} there, {definition.get(k)} here" for k in unlike)
        raise InputError(
            f"the study '{name}' in {url} belongs to another search ({shown}): give "
            "hydra.sweeper.study_name=ANOTHER, or leave it out"
        )
    return study


def pruner(storage: str, study: str, trial: int) -> Callable[[int, float], None]:
    """A function of (step, validation loss) that raises `Pruned` if the trial is a bad one."""
    opened = optuna.load_study(
        study_name=study, storage=open_storage(storage), pruner=MedianPruner()
    )
    running = Trial(opened, trial)

    def watch(step: int, loss: float) -> None:
        with suppress(UpdateFinishedTrialError):  # another process took it over
            running.report(loss, step)
        if running.should_prune():
            raise Pruned(f"pruned at step {step}: loss {loss:.4g} is above the trials' median")

    return watch


def is_alive(worker: str, attributes: Mapping[str, Any]) -> bool:
    """Whether the process of a worker runs, from its name and the study's attributes."""
    host, pid, _ = worker.split(":")
    if host == socket.gethostname():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    return time.time() - float(attributes.get(f"alive {worker}", 0.0)) < GRACE
