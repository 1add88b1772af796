"""The command: one experiment, or a sweep.

    python bench/run.py method=hyplora curvature=0.5 seed=1
    python bench/run.py -m method=hyplora,lora curvature=0.1,1.0
    python bench/run.py +sweep=table2

Only Hydra is imported here, so that --help answers at once.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from pathlib import Path
from typing import Any

# Run as a script, Python puts bench/ first on its path; the package's parent belongs there.
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import hydra
from omegaconf import DictConfig, OmegaConf

from bench.errors import Failure, InputError, Terminated, disk_is_full, printable, unknown
from bench.launchers import EXTRAS, missing_extra, portable
from bench.sweep.launch import place_in_sweep

CONF = Path(__file__).resolve().parent.parent / "conf"


def run_one(config: DictConfig) -> dict[str, Any]:
    """Run the action of one composed configuration; its outcome as plain data, for a sweep."""
    from bench.actions import ACTIONS

    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    outcome = ACTIONS[plain["action"]["name"]](plain)
    print(place_in_sweep() + printable(outcome["summary"]), flush=True)
    return outcome


def main() -> int:
    """Run the command line.

    Returns:
        0 when all went well, 1 when a run failed, 2 for bad input, 130 after Ctrl-C, 143 after
        SIGTERM.
    """
    from bench.actions import BEGAN

    began = os.environ[BEGAN] = str(time.time())

    # The time goes with the function: a worker on another machine has not this environment.
    @functools.wraps(run_one)
    def run(config: DictConfig) -> dict[str, Any]:
        os.environ[BEGAN] = began
        try:
            return run_one(config)
        except Exception as error:
            told = portable(error)
            if told is error:
                raise
            raise told from error

    # Hydra then hands its errors on instead of ending the process with code 1 itself.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Ray reports its own use to its makers unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    command = hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(run)
    try:
        command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Terminated:
        print("ended by SIGTERM; the same command goes on from here", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        message = configuration_error(error)
        if message is not None:
            print(f"error: {message}", file=sys.stderr)
            return 2
        first = printable(str(error).partition("\n")[0])
        if disk_is_full(error):
            print(f"error: {first}: free some; the same command goes on from here", file=sys.stderr)
            return 1
        if isinstance(error, OSError) and error.filename is not None:
            print(f"error: {first}", file=sys.stderr)
            return 1
        raise
    return 0


def configuration_error(error: Exception) -> str | None:
    """What to tell a person of an error in the configuration; None for any other error."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, MissingConfigException):
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        launcher = group == "hydra/launcher"
        if launcher and name in EXTRAS:
            return str(missing_extra(name))
        if error.options:
            known = {*error.options, *EXTRAS} if launcher else error.options
            return str(unknown(group or "configuration", name, known))
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return f"a group takes a name of one of its files: {error}"  # method=null
    if isinstance(error, HydraException | OmegaConfBaseException):
        cause = error.__cause__
        return str(error) if cause is None else f"{error}\n{cause}"
    return None


if __name__ == "__main__":
    sys.exit(main())
