"""What Hydra's launchers need: the extras that install them, job files, portable errors."""

from __future__ import annotations

import pickle
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from bench.errors import Failure, InputError

EXTRAS = {"ray": "ray", "ray_aws": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}


def missing_extra(launcher: str) -> InputError:
    """How to install a launcher of `EXTRAS` that Hydra does not find."""
    extra = EXTRAS[launcher]
    return InputError(
        f"hydra/launcher={launcher} needs the extra [{extra}]: "
        f".venv/bin/pip install -e '.[{extra}]'"
    )


def portable(error: Exception) -> Exception:
    """The error, or a `Failure` with its message if it can't be pickled and read back.

    Workers hand their errors to the sweep pickled. One that can't be read back would end the whole
    sweep.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return Failure(f"{type(error).__name__}: {error}")
    return error


class JobFiles(Callback):
    """Puts submitit's job files into the results folder instead of the current one.

    conf/ can't set this: it has no file for a launcher that may not be installed.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Set the folder, unless the command line or a preset does."""
        from bench.config import results_folder

        stock = "${hydra.sweep.dir}/.submitit/%j"
        launcher = OmegaConf.to_container(config.hydra.launcher, resolve=False)
        if isinstance(launcher, dict) and launcher.get("submitit_folder") == stock:
            with open_dict(config.hydra.launcher):
                folder = results_folder(config.tracking.folder) / "submitit" / "%j"
                config.hydra.launcher.submitit_folder = str(folder)
