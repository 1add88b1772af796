"""The errors that the command line tells in one line, without a traceback."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """A text whose control characters are written out: what a file says can't steer a terminal."""
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


class InputError(ValueError):
    """Bad input, told in one message: what was given, what is allowed, what to type instead.

    The command line prints the message without a traceback and ends with exit code 2.
    """

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message)))


class Failure(RuntimeError):
    """Work that was done and did not succeed, told in one message; exit code 1."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message)))


class Terminated(KeyboardInterrupt):
    """The process was told to end by SIGTERM, as schedulers do; the run can go on later.

    Like Ctrl-C it is no Exception: a sweep ends with it and does not begin its next run.
    """


class Pruned(RuntimeError):
    """A run of a search that was given up early: its validation loss is worse than the others'."""


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, is that of a full disk."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if full or "database or disk is full" in str(error):  # sqlite's words
            return True
        error = error.__cause__ or error.__context__
    return False


def unknown(what: str, given: str, allowed: Iterable[str]) -> InputError:
    """An InputError for a name that is not known, with the nearest ones that are."""
    allowed = sorted(allowed)
    folded = {name.casefold(): name for name in allowed}
    near = difflib.get_close_matches(given.casefold(), folded, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(folded[name] for name in near)}?" if near else ""
    return InputError(f"unknown {what} '{given}'.{hint} Known: {', '.join(allowed) or 'none'}.")
