"""The command line: one run, or a sweep.

    python bench/run.py method=hyplora curvature=0.5 seed=1
    python bench/run.py -m method=hyplora,lora curvature=0.1,1.0
    python bench/run.py +sweep=table2

Imports nothing heavy, so that --help answers at once.
"""

from __future__ import annotations

import errno
import functools
import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Run as a script, Python puts bench/ first on its path; the package's parent belongs there.
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bench.actions import run_action
from bench.errors import (
    Failure,
    InputError,
    Terminated,
    disk_is_full,
    ended_by_sigterm,
    missing_extra,
    printable,
    unknown,
    without_secrets,
)
from bench.sweep.launch import (
    BEGAN,
    EXTRAS,
    end_with_sweep,
    place_in_sweep,
    portable,
)

CONF = Path(__file__).resolve().parent.parent / "conf"
AGAIN = "the same command resumes its runs"


def main() -> int:
    """Run the command line.

    Returns:
        0 on success, 1 if a run failed, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM.
    """
    os.environ[BEGAN] = str(time.time())
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra ends the process with code 1 itself
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    errors: list[Exception] = []
    command = hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
    with masked_output(), ended_by_sigterm():
        try:
            command(_task(errors))()
            if errors:
                raise errors[0]
        except Terminated:
            print(f"ended by SIGTERM; {AGAIN}", file=sys.stderr)
            return 143
        except KeyboardInterrupt:
            print(f"interrupted; {AGAIN}", file=sys.stderr)
            return 130
        except Exception as error:
            code, message = explained(error)
            if message is None:
                traceback.print_exc()
            else:
                print(f"error: {message}", file=sys.stderr)
            return code
    return 0


class MaskedStream:
    """A stream that masks passwords and tokens in what is written."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text without its secrets; returns its length."""
        self.stream.write(without_secrets(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def masked_output() -> Iterator[None]:
    """Mask secrets in all that this process prints, also through Hydra and other libraries."""
    before = sys.stdout, sys.stderr
    if isinstance(sys.stdout, MaskedStream):
        yield
        return
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack some characters
    sys.stdout, sys.stderr = map(MaskedStream, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _task(errors: list[Exception]) -> Any:
    """The function that Hydra calls with a composed configuration.

    `errors` takes the error of a single run: raised there, Hydra would print a line of its own. The
    sweeper reports the error of a job.
    """
    # Of this process; a worker has others.
    began, pid = os.environ[BEGAN], os.getpid()

    @functools.wraps(run_one)
    def task(config: DictConfig) -> dict[str, Any]:
        os.environ[BEGAN] = began
        end_with_sweep(pid)
        try:
            with masked_output():
                return run_one(config)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.RUN:
                errors.append(error)
                return {}
            if (sent := portable(error)) is error:
                raise
            raise sent from error

    return task


def run_one(config: DictConfig) -> dict[str, Any]:
    """Run the action of one composed configuration; returns plain data, for a sweep."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    outcome = run_action(plain)  # type: ignore[arg-type]
    print(place_in_sweep() + printable(outcome["summary"]), flush=True)
    return outcome


def explained(error: Exception) -> tuple[int, str | None]:
    """The exit code for an error, and its message; None for one that needs a traceback."""
    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, Failure):
        return 1, str(error)
    if message := configuration_error(error):
        return 2, message
    if isinstance(error, UnicodeEncodeError):
        text = printable(f"{error.object:.60}")
        return 2, f"{error.encoding} can't encode {text}: use a UTF-8 locale, or set PYTHONUTF8=1"
    first = printable(str(error).partition("\n")[0])
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return 2, first
    if disk_is_full(error):
        return 1, f"{first}: free some space; {AGAIN}"
    if isinstance(error, OSError) and error.filename is not None:
        return 1, first
    return 1, None


def configuration_error(error: Exception) -> str | None:
    """The message for an error in the configuration; None for any other error."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, MissingConfigException):
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        launcher = group == "hydra/launcher"
        if launcher and name in EXTRAS:
            return str(missing_extra(f"hydra/launcher={name}", EXTRAS[name]))
        if error.options:
            known = {*error.options, *EXTRAS} if launcher else error.options
            return str(unknown(group or "configuration", name, known))
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return f"a group takes a name of one of its files: {error}"  # method=null
    if isinstance(error, HydraException | OmegaConfBaseException):
        if hint := quoting(sys.argv[1:]):
            return hint
        if "hydra.launcher.n_jobs" in str(error):
            return "this launcher runs one run at a time: give hydra/launcher=processes, too"
        cause = error.__cause__
        return str(error) if cause is None else f"{error}\n{cause}"
    return None


def quoting(arguments: list[str]) -> str | None:
    """What to type for the first argument that Hydra can't read, or reads as several values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    several = any(argument in ("-m", "--multirun") for argument in arguments)

    def refused(argument: str) -> bool:
        try:
            return parser.parse_override(argument).is_sweep_override() and not several
        except HydraException:
            return True

    def quoted(text: str) -> str:
        return QuotedString(text, Quote.double).with_quotes()

    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or argument.startswith("-") or not refused(argument):
            continue
        items = value[1:-1].split(",")
        listed = [quoted(item) if refused(f"key={item}") else item for item in items]
        candidates = [f"{key}={quoted(value)}"]
        if value.startswith("[") and value.endswith("]"):
            candidates.insert(0, f"{key}=[{','.join(listed)}]")
        for candidate in candidates:
            if not refused(candidate):
                return f"{argument} can't be read: quote the value, {shlex.quote(candidate)}"
    return None


if __name__ == "__main__":
    sys.exit(main())
