import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import GenerationConfig

from bench.errors import InputError
from bench.models.hashes import file_hash
from bench.models.loading import check_devices, load_base, weight_dtype
from bench.models.settings import check_folder, content_hash
from tests.helpers import model_at

CPU = torch.device("cpu")


@pytest.fixture
def copy(local_base, tmp_path):
    return shutil.copytree(local_base, tmp_path / "copy")


def test_a_path_without_a_base_is_refused(copy):
    for path in ("./nowhere", "/nowhere/at/all", "nowhere", "none.gguf"):
        with pytest.raises(InputError, match="no such folder or GGUF file"):
            check_folder(model_at(path))
    for name, message in (
        ("model.safetensors", r"no \*\.safetensors"),
        ("config.json", "no config.json"),
    ):
        (copy / name).unlink()
        with pytest.raises(InputError, match=message):
            check_folder(model_at(copy))


def test_a_tokenizer_larger_than_the_model_is_refused(copy, tiny):
    tokenizer = tiny[1].from_pretrained(copy)
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(copy)
    with pytest.raises(InputError, match="do not belong together"):
        load_base(model_at(copy), CPU)


def test_stop_tokens_of_the_base_are_kept_and_nothing_else_of_its_generation(copy):
    sampling = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 2.0}
    given = {"eos_token_id": [7, 2, 99999], "no_repeat_ngram_size": 1} | sampling
    (copy / "generation_config.json").write_text(json.dumps(given))
    found = load_base(model_at(copy), CPU)[0].generation_config
    assert found.eos_token_id == [2, 7] and found.pad_token_id == 0
    plain = GenerationConfig()
    assert all(getattr(found, key) == getattr(plain, key) for key in list(given)[1:])


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
def test_attention_code_of_the_hub_is_not_loaded_for_a_config(copy, key):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {key: "owner/kernel"}))
    assert load_base(model_at(copy), CPU)[0].config._attn_implementation == "sdpa"


def test_a_folder_with_a_pipe_is_refused(copy):
    (copy / "tokenizer.model").unlink(missing_ok=True)
    os.mkfifo(copy / "tokenizer.model")
    with pytest.raises(InputError, match=r"tokenizer\.model is not a regular file"):
        check_folder(model_at(copy))


def test_the_hash_depends_on_the_content_and_not_on_the_path(local_base, copy, tmp_path):
    cache = tmp_path / "hashes.json"
    cache.write_text("[1]")  # damaged: it is made again
    one = content_hash(model_at(local_base), cache)
    assert content_hash(model_at(copy), cache) == one == content_hash(model_at(copy))
    (copy / "generation_config.json").write_text("{}")
    assert content_hash(model_at(copy), cache) != one
    assert content_hash(model_at("owner/model", revision="abc")) == "owner/model@abc"


def test_more_gpus_than_there_are_are_refused():
    with pytest.raises(InputError, match=r"train\.devices=1000, but there are \d+ GPUs"):
        check_devices("train.devices", 1000, torch.device("cuda"))
    check_devices("train.devices", 1000, CPU)  # processes


@pytest.mark.parametrize(("major", "dtype"), [(7, torch.float32), (8, torch.bfloat16)])
def test_auto_is_bfloat16_only_on_gpus_that_do_not_emulate_it(major, dtype, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    # What the emulation passes.
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    assert weight_dtype("auto", torch.device("cuda")) == dtype


def test_dtypes():
    assert weight_dtype("auto", CPU) == torch.float32
    with pytest.raises(InputError, match="Did you mean float32"):
        model_at("p", "float31")


def test_a_file_with_the_size_and_time_of_another_is_hashed_again(tmp_path):
    file, cache = tmp_path / "weights", tmp_path / "hashes.json"
    for content in ("one", "two"):
        file.write_text(content)
        os.utime(file, (1000.0, 1000.0))
        assert file_hash(file, cache) == file_hash(file)
    written = cache.stat().st_ino
    file_hash(file, cache)
    assert cache.stat().st_ino == written, "nothing new is not written"
