import errno

import pytest
from safetensors import SafetensorError

from bench.errors import Failure, InputError, disk_is_full


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "write failed"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
)
def test_a_full_disk_is_recognised_also_as_the_cause_of_another_error(error):
    wrapped = RuntimeError("can't save")
    wrapped.__cause__ = error
    assert disk_is_full(error) and disk_is_full(wrapped)
    assert not disk_is_full(RuntimeError("can't save"))


@pytest.mark.parametrize("kind", [InputError, Failure])
def test_no_error_message_has_a_password(kind):
    assert str(kind("no http://me:secret@host")) == "no http://me:***@host"
