"""Errors that the command line reports in one line, warnings, and masked secrets."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

_log = logging.getLogger(__name__)

Text = TypeVar("Text", bound="str | None")

# The password of an address, up to the last @, which it may contain; a token in place of a user; a
# parameter of an address; a variable of the environment.
_SECRETS = re.compile(
    r"(://[^\s/:@]*:)\S*(?=@)|(https?://)[^\s/:@]+(?=@)"
    r"|([?&;](?:\w*password|passwd|pwd|\w*token|\w*secret|api_?key)=)[^&;\s'\"]*"
    r"|(\b[A-Z_]*(?:PASSWORD|TOKEN|SECRET|API_KEY|ACCESS_KEY)[A-Z_]*['\"]?\s*[=:]\s*)[^\s,}]+"
)
_SECRET_NAME = re.compile("PASSWORD|TOKEN|SECRET|API_KEY|ACCESS_KEY")
SHORTEST = 8  # characters of a secret in the environment that is masked wherever it appears
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
FULL = ("database or disk is full", "No space left on device")  # of sqlite, and of safetensors


def without_secrets(text: Text) -> Text:
    """A text with passwords and tokens masked: of addresses and of environment variables."""
    if text is None:
        return text
    # Values are read each time, since they may change.
    for name in filter(_is_secret, os.environ):
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST and value in text:
            text = text.replace(value, "***")  # type: ignore[assignment]
    masked = _SECRETS.sub(lambda found: "".join(filter(None, found.groups())) + "***", text)
    return masked  # type: ignore[return-value]


@cache
def _is_secret(name: str) -> bool:
    """Whether an environment variable holds a secret, by its name."""
    return _SECRET_NAME.search(name) is not None


def printable(text: str) -> str:
    """A text with masked secrets and escaped control characters and surrogates.

    It is safe for a terminal, and can be written as UTF-8.
    """
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], without_secrets(text))


class InputError(ValueError):
    """Bad input: the message says what was given, what is allowed and what to type; exit code 2."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message)))


class Failure(RuntimeError):
    """A failure for the reason in the message; exit code 1."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message)))


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM, as schedulers send it; the run can be resumed.

    Like Ctrl-C it is not an Exception: it ends a sweep too.
    """


@contextmanager
def ended_by_sigterm(*others: int) -> Iterator[None]:
    """Make SIGTERM, and further signals, end the block with `Terminated`.

    Signal handlers can be set in the main thread only; in another the block runs without them.
    """

    def end(*_: object) -> None:
        raise Terminated("ended by SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, *others)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Pruned(RuntimeError):
    """A run of a search was stopped early, because its validation loss is worse than others'."""


@cache
def warn_once(message: str) -> None:
    """Log a warning that a process gives once, for all runs that it applies to."""
    _log.warning(message)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one in its chain, is due to a full disk."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if full or any(message in str(error) for message in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def unknown(what: str, given: str, allowed: Iterable[str]) -> InputError:
    """An InputError for an unknown name, with the nearest known ones."""
    allowed = sorted(allowed)
    known = ", ".join(allowed) or "none"
    return InputError(f"unknown {what} '{given}'.{did_you_mean(given, allowed)} Known: {known}.")


def missing_extra(setting: str, extra: str) -> InputError:
    """The error for a setting that needs packages of an extra of pyproject.toml."""
    # Ray needs other versions of joblib and cloudpickle than the pinned ones.
    pinned = "" if extra == "ray" else "-c constraints.txt "
    return InputError(
        f"{setting} needs the extra [{extra}]: .venv/bin/pip install {pinned}-e '.[{extra}]'"
    )


def reason(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """A sentence with the nearest names, after a space; empty if none is near."""
    folded = {name.casefold(): name for name in allowed}
    near = difflib.get_close_matches(given.casefold(), folded, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(folded[name] for name in near)}?" if near else ""
