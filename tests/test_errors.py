"""Errors: their masked secrets, and how a full disk is recognised."""

import errno

import pytest
from safetensors import SafetensorError

from bench.actions import run_action
from bench.errors import Failure, InputError, disk_is_full, without_secrets


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


@pytest.mark.parametrize(
    ("given", "masked"),
    [
        ("uri=postgresql://me:s3@cr/t@host/db", "uri=postgresql://me:***@host/db"),
        ("tracking.uri='http://me:secret@host:1'", "tracking.uri='http://me:***@host:1'"),
        ("tracking.uri=https://hf_abc@host/x", "tracking.uri=https://***@host/x"),
        ("storage=x://h/d?password=secret&a=1", "storage=x://h/d?password=***&a=1"),
        ("storage=x://h/d?a=1&sslpassword=secret", "storage=x://h/d?a=1&sslpassword=***"),
        ("+hydra.job.env_set.HF_TOKEN=secret", "+hydra.job.env_set.HF_TOKEN=***"),
        ("env_set={MLFLOW_TRACKING_PASSWORD: secret, A: 1}",
         "env_set={MLFLOW_TRACKING_PASSWORD: ***, A: 1}"),
        ("the one in the environment: 12345-abcde", "the one in the environment: ***"),
    ],
)  # fmt: skip
def test_secrets_are_masked(given, masked, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "12345-abcde")
    assert without_secrets(given) == masked
    assert str(InputError(given)) == masked == str(Failure(given))


def test_a_secret_that_is_set_or_changed_later_is_masked(monkeypatch):
    text = "with 12345-abcde and 67890-fghij"
    for value, masked in (
        ("12345-abcde", "with *** and 67890-fghij"),
        ("67890-fghij", "with 12345-abcde and ***"),
    ):
        monkeypatch.setenv("A_NEW_TOKEN", value)
        assert without_secrets(text) == masked
    monkeypatch.delenv("A_NEW_TOKEN")
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "tracking.uri=http://host:5000", "data.root=a:b@c", "postgresql://bench@host/mlflow",
        "protocol.max_new_tokens=9", "action.step_tokens=9 tokenizer=embedded",
    ],
)  # fmt: skip
def test_other_texts_stay_as_they_are(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize("name", ["publish", "efficiency"])
def test_a_plan_of_an_action_without_runs_is_refused(name):
    with pytest.raises(InputError, match=f"plan=true needs action=.*, got {name}"):
        run_action({"action": {"name": name}, "plan": True})
