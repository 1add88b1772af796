"""A base on a hub: real requests to a small hub on this machine, see fake_hub.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from bench.errors import InputError
from bench.models import hub, loading
from bench.models.settings import ModelSettings

PROJECT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_averysecrettoken"


def settings(path="owner/model", revision=None):
    return ModelSettings("hub", path, revision, "float32", None, False)


@pytest.fixture(scope="module")
def told(local_base, tmp_path_factory):
    """What loading from the hub came to, by the case."""
    program = [sys.executable, "tests/models/fake_hub.py", str(local_base)]
    home = tmp_path_factory.mktemp("hub")
    done = subprocess.run(
        [*program, str(home)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return {entry["case"]: entry for entry in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize(
    ("case", "what", "advice"),
    [
        ("gone", "has no such branch, tag or commit", "/owner/good/commits/main"),
        ("gone commit", "has no such branch, tag or commit", "model.revision=null"),
        ("absent", "no such repository, or it is private", "HF_TOKEN"),
        ("disabled", "has disabled this repository", "/owner/disabled"),
        ("busy", "the hub answered 429", "try again later"),
        ("broken", "the hub can't be reached", "hf download owner/broken"),
        ("gated", "is gated", "accept its terms"),
        ("pickled", "has no model.safetensors", "save_pretrained"),
        ("huge", "its files take 1000000000.0 GB", "HF_HOME="),
        ("no id", "is no hub id", "OWNER/NAME"),
        ("unreachable", "not in the cache", "hf download owner/another --include"),
        (
            "unreachable commit",
            "not in the cache",
            f"hf download owner/another --revision {COMMIT}",
        ),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line_with_what_to_do(told, case, what, advice):
    message = told[case]["error"]
    assert what in message and advice in message and "\n" not in message


def test_no_message_has_a_token_and_none_drags_one_along(told):
    for entry in told.values():
        assert TOKEN not in entry.get("error", "")
        # What was raised on the way has the token of this hub's answers; a traceback hides it.
        assert TOKEN not in entry.get("cause", "") or entry["hidden"]
    assert any(TOKEN in entry.get("cause", "") for entry in told.values())


@pytest.mark.parametrize("case", ["good", "cached", "cached commit"])
def test_the_commit_that_was_loaded_is_known_with_and_without_a_network(told, case):
    assert told[case]["commit"] == COMMIT


def test_offline_a_base_that_is_not_cached_ends_the_command_with_code_2(command, small):
    done = command("method=none", *small, "model=hub", "model.path=owner/nowhere")
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: model.path=owner/nowhere: HF_HUB_OFFLINE is set")
    assert "Traceback" not in done.stderr


def test_a_gated_base_is_told_where_transformers_raises_it(monkeypatch):
    import httpx2
    from huggingface_hub.errors import GatedRepoError

    response = httpx2.Response(403, request=httpx2.Request("GET", "https://hub/owner/model"))

    def refuse(*_, **__):
        try:
            raise GatedRepoError("403", response=response)
        except GatedRepoError as error:
            raise OSError("You are trying to access a gated repo.") from error

    monkeypatch.setattr(loading, "obtainable", lambda settings: (COMMIT, False))
    monkeypatch.setattr(AutoConfig, "from_pretrained", refuse)
    with pytest.raises(InputError, match="is gated: accept its terms") as caught:
        loading.load_base(settings(), torch.device("cpu"))
    assert caught.value.__suppress_context__


def test_a_full_disk_in_a_download_is_told():
    told = hub.unobtainable(settings(), OSError(28, "No space left on device"))
    assert "is full" in str(told) and "HF_HOME=" in str(told)


def test_of_a_base_in_shards_all_must_be_in_the_cache(told, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--owner--model/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    assert not hub._cached("owner/model", COMMIT)
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name in ("config.json", "tokenizer.json"):
        (snapshot / name).write_text("{}")
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / shards[0]).touch()
    assert not hub._cached("owner/model", COMMIT)
    (snapshot / shards[1]).touch()
    assert hub._cached("owner/model", COMMIT)


def test_other_formats_and_folders_do_not_count_as_what_is_downloaded(monkeypatch):
    sizes = {
        "config.json": 10,
        "model-00001-of-00002.safetensors": 100,
        "model-00002-of-00002.safetensors": 100,
        "pytorch_model.bin": 10**9,
        "original/consolidated.00.pth": 10**9,
        "onnx/config.json": 10**9,
    }
    usage = type("Usage", (), {"free": 210})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    hub._check_files(settings(), sizes)
    usage.free = 209
    with pytest.raises(InputError, match=r"has 0\.0 MB left"):
        hub._check_files(settings(), sizes)


def test_a_token_is_struck_out_of_what_others_say(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "my own secret")
    text = hub.without_tokens("sent my own secret and hf_abcdefghijkl to hf_hub")
    assert text == "sent *** and hf_*** to hf_hub"
