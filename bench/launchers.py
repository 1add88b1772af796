"""What a sweep needs of Hydra's launchers: the extras that bring them, and a place for their files.

The launchers themselves are Hydra's own plugins: joblib, submitit (local and SLURM), Ray.
"""

from __future__ import annotations

import pickle
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from bench.errors import Failure, InputError

EXTRAS = {"ray": "ray", "ray_aws": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}


def missing_extra(launcher: str) -> InputError:
    """What to install for a launcher of `EXTRAS` that Hydra does not find."""
    extra = EXTRAS[launcher]
    return InputError(
        f"hydra/launcher={launcher} needs the extra [{extra}]: "
        f".venv/bin/pip install -e '.[{extra}]'"
    )


def portable(error: Exception) -> Exception:
    """The error itself, or where it does not outlive pickling one that tells the same.

    A worker hands its errors to the sweep pickled. One that can't be read back would end the sweep,
    whose other runs may be well.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return Failure(f"{type(error).__name__}: {error}")
    return error


class JobFiles(Callback):
    """Puts submitit's job files under the results folder.

    By itself it takes the sweep's folder, which is where one stands, and a project is littered
    with pickles. Hydra's launchers bring their own configuration, so a value of ours can't stand in
    conf/ for a launcher that need not be installed.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Name the folder, unless the command line or a preset names another."""
        from bench.config import results_folder

        stock = "${hydra.sweep.dir}/.submitit/%j"
        launcher = OmegaConf.to_container(config.hydra.launcher, resolve=False)
        if isinstance(launcher, dict) and launcher.get("submitit_folder") == stock:
            with open_dict(config.hydra.launcher):
                folder = results_folder(config.tracking.folder) / "submitit" / "%j"
                config.hydra.launcher.submitit_folder = str(folder)
