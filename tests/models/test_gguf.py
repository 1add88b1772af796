import copy
import os
import shutil

import pytest
import torch

from bench.errors import InputError
from bench.models import gguf
from bench.models.loading import load_base
from bench.models.settings import check_folder, content_hash
from tests.helpers import model_at
from tests.models.gguf_file import TEMPLATE, write_gguf

pytest.importorskip("gguf")
CPU = torch.device("cpu")
TEXT = "Mary has  12 books. Tom's 2 more:  14.5\nThe answer is 14."


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(gguf.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def source(tiny):
    """A random LLaMA whose widths are multiples of the 32 weights of a block."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny[1]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        max_position_embeddings=128,
        rope_parameters={"rope_theta": 20000.0, "rope_type": "default"},
        tie_word_embeddings=False,
        initializer_range=0.1,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


@pytest.fixture(scope="module")
def file(tmp_path_factory, source):
    """The source as a GGUF file in float32."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "small.gguf", *source)


def loaded(path):
    check_folder(model_at(path))
    return load_base(model_at(path), CPU)


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits


# The largest error of the logits relative to their norm. Q8_0 has 8 bits, Q4_1 4.
@pytest.mark.parametrize(("kind", "most"), [("F32", 1e-6), ("Q8_0", 0.04), ("Q4_1", 0.6)])
def test_a_converted_base_computes_what_its_source_does(tmp_path, source, kind, most):
    model, _ = loaded(write_gguf(tmp_path / "small.gguf", *source, kind=kind))
    ids = source[1](TEXT)["input_ids"]
    for expected, bound in ((source[0], most), (rounded(source[0], kind), 1e-6)):
        expected = logits(expected, ids)
        assert (logits(model, ids) - expected).norm() / expected.norm() < bound
    assert model.dtype == torch.float32


def rounded(model, kind):
    """The source with matrices that were stored in a type of GGUF."""
    import gguf

    model, stored = copy.deepcopy(model), gguf.GGMLQuantizationType[kind]
    for parameter in model.parameters():
        if parameter.ndim == 2:
            blocks = gguf.quantize(parameter.detach().numpy(), stored)
            parameter.data = torch.tensor(gguf.dequantize(blocks, stored))
    return model


def test_its_tokenizer_is_that_of_its_source(file, source):
    model, tokenizer = loaded(file)
    for text in (TEXT, "  7", "x\n\n  3 </s>", "½ km, 1 000"):
        assert tokenizer(text)["input_ids"] == source[1](text)["input_ids"]
    assert tokenizer.decode(tokenizer(TEXT)["input_ids"], skip_special_tokens=True) == TEXT
    assert tokenizer.chat_template == TEMPLATE
    assert model.generation_config.eos_token_id == [source[1].eos_token_id]
    assert tokenizer.pad_token_id == source[1].pad_token_id


def test_tied_embeddings_stay_tied(tmp_path, tiny):
    model, _ = loaded(write_gguf(tmp_path / "tied.gguf", *tiny))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    ids = tiny[1](TEXT)["input_ids"]
    assert torch.allclose(logits(model, ids), logits(tiny[0], ids), atol=1e-4)


def test_a_file_is_converted_once_wherever_it_is(file, tmp_path, cache, monkeypatch):
    first = gguf.convert(file)
    monkeypatch.setattr(gguf, "_write", None)
    moved = shutil.copy(file, tmp_path / "other.gguf")
    assert gguf.convert(moved) == first and first.parent == cache / "gguf"
    assert content_hash(model_at(moved)) == content_hash(model_at(file)) == gguf.content(file)
    assert model_at(moved).folder == first


def test_files_next_to_it_change_nothing(tmp_path, source):
    path = write_gguf(tmp_path / "small.gguf", *source)
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "other"}')
    (tmp_path / "config.json").write_text("{}")
    assert loaded(path)[1].chat_template == TEMPLATE


def test_a_conversion_that_was_killed_is_made_again(file, cache, monkeypatch):
    def killed(path, folder):
        (folder / "config.json").write_text("{")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gguf, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            gguf.convert(file)
    partial = gguf.copy_of(file).with_suffix(".partial")
    partial.mkdir()  # of a process that could not clean up
    (partial / "model.safetensors").write_text("half")
    folder = gguf.convert(file)
    assert not partial.exists() and (folder / "model.safetensors").stat().st_size > 1000


@pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.9999])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, file, share, cache):
    path = tmp_path / "cut.gguf"
    path.write_bytes(file.read_bytes()[: int(share * os.path.getsize(file))])
    refused(path, "it is damaged, or not a GGUF file")
    assert not list((cache / "gguf").glob("*[!k]"))  # but a lock


def refused(path, reason):
    with pytest.raises(InputError, match=reason) as found:
        check_folder(model_at(path))
    assert str(found.value).startswith(f"model.path={path}") and "\n" not in str(found.value)


def test_what_transformers_would_read_wrongly_is_refused(tmp_path, source):
    path = write_gguf(tmp_path / "a.gguf", *source, pre="poro-chat")
    refused(path, "splits texts like 'poro-chat'")
    path = write_gguf(tmp_path / "b.gguf", *source, **{"rope_freqs.weight": torch.ones(8)})
    refused(path, "does not read its scaled rotary embedding")
    bias = {"blk.0.attn_q.bias": torch.ones(64)}
    refused(write_gguf(tmp_path / "c.gguf", *source, **bias), "but transformers reads only")


def test_without_the_extra_the_message_says_what_to_install(tmp_path, file, monkeypatch):
    monkeypatch.setattr(gguf.importlib.util, "find_spec", lambda name: None)
    refused(file, r"needs the extra \[gguf\]")


def test_without_room_it_is_refused(file, monkeypatch):
    nothing = shutil._ntuple_diskusage(10, 10, 0)
    monkeypatch.setattr(gguf.shutil, "disk_usage", lambda path: nothing)
    refused(file, "takes 0.0 GB, and .* has 0.0 GB left")
