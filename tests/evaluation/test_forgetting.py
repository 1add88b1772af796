"""Cross-entropy of general text, before and after fine-tuning."""

import math

import pytest
import torch

import bench.experiment
from bench.data.general import general_documents, pretraining_documents
from bench.errors import InputError
from bench.evaluation.forgetting import cross_entropy, forgetting, text_hash, windows
from bench.experiment import run
from bench.methods import attach
from bench.tracking.store import Store
from tests.evaluation.adapted import adapted


@pytest.mark.parametrize("size", [2, 3, 8])
def test_each_token_counts_once_after_its_context(size):
    for length in (0, 1, 6, 7, 8, 9, 20, 21):
        ids = list(range(100, 100 + length))
        counted = []
        for window in windows(ids, 1, size):
            assert len(window.ids) <= size and window.first_target >= 1
            counted += window.labels[window.first_target :]
            assert [1, *ids][[1, *ids].index(window.ids[0]) :][: len(window.ids)] == window.ids
        assert counted == ids
    assert {window.first_target for window in windows(range(40), 99, 8)[1:]} == {4}


def test_the_loss_is_that_of_one_plain_forward_pass(tiny):
    model, tokenizer = tiny
    texts = ["Tom has 4 books and 3 pens.", "13+24=37. 5*6=30.", "Ünïcode"]
    nats = tokens = 0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        assert ids[0, 0] == tokenizer.bos_token_id
        nats += model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    loss = cross_entropy(model, tokenizer, texts, 64, 1024)
    assert loss["nats_per_token"] == pytest.approx(nats / tokens, abs=1e-5)
    size = sum(len(text.encode()) for text in texts)
    assert loss["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, abs=1e-5)


@pytest.mark.parametrize("method", ["hyplora", "prefix"])
def test_the_batch_size_does_not_change_the_loss(fresh_tiny, method):
    base, tokenizer = fresh_tiny
    model = adapted(base, method, 0.1)
    texts = general_documents("embedded", tiny=True)[:5]
    together, alone = (cross_entropy(model, tokenizer, texts, n, 40) for n in (64, 1))
    assert together["nats_per_token"] == pytest.approx(alone["nats_per_token"], abs=1e-5)


def test_the_held_out_text_is_not_in_the_training_text():
    trained = set(pretraining_documents(2000))
    own = [text for text in general_documents("embedded", tiny=True) if len(text) > 60]
    assert len(own) > 200 and not trained & set(own)


def test_an_adapter_of_noise_forgets_and_one_that_does_nothing_does_not(fresh_tiny, tiny, tmp_path):
    tokenizer, texts = tiny[1], general_documents("embedded", tiny=True)[:8]
    torch.manual_seed(0)
    options = {"target_modules": ["v_proj", "up_proj", "down_proj"], "r": 8, "lora_alpha": 64.0}
    model = attach(fresh_tiny[0], "hyplora", options | {"curvature": 0.5}).eval()
    (tmp_path / "none").mkdir()
    unchanged = forgetting(tiny[0], tiny[0], tokenizer, texts, 64, 1024, tmp_path / "none")
    before = unchanged["before"]["nats_per_token"]
    assert unchanged["after"] == unchanged["before"]
    start = cross_entropy(model, tokenizer, texts, 64, 1024)
    assert start["nats_per_token"] == pytest.approx(before, abs=1e-5)
    for name, parameter in model.named_parameters():
        if "hyplora_B" in name:
            torch.nn.init.normal_(parameter, std=5.0)
    found = forgetting(tiny[0], model, tokenizer, texts, 64, 1024, tmp_path)
    assert found["before"]["nats_per_token"] == before
    assert found["after"]["nats_per_token"] > before + 0.5
    assert found["sha256"] == text_hash(texts) and found["bytes"] == len("".join(texts).encode())


def test_a_run_records_both_losses(compose, small, monkeypatch, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("Sue has 5 apples. 5+4=9.", encoding="utf-8")
    words = (*small, "data.validation=2", "method=lora", f"evaluation.forgetting={text}")
    with monkeypatch.context() as patch:  # killed after the losses, before the record
        patch.setattr(bench.experiment, "_results", None)
        with pytest.raises(TypeError):
            run(compose(*words))
    monkeypatch.setattr("bench.evaluation.forgetting.cross_entropy", None)  # not computed again
    settings = compose(*words)
    record = run(settings).record
    found = record["forgetting"]
    assert found["after"] != found["before"]
    assert record["hashes"]["forgetting"] == found["sha256"]
    store = Store(settings.tracking.results, None, "hyplora-bench")
    logged = store.client.get_run(record["run_id"]).data.metrics
    assert logged["forgetting/bits_per_byte_after"] == found["after"]["bits_per_byte"]


def test_the_text_is_part_of_the_identity_if_forgetting_is_measured(compose, small, tmp_path):
    text = tmp_path / "text.txt"

    def name(*words):
        return bench.experiment.prepare(compose(*small, "method=lora", *words)).identity

    asked = f"evaluation.forgetting={text}"
    text.write_text("one")
    names = [name(), name(asked), name("evaluation.forgetting=embedded")]
    text.write_text("two")
    assert len({*names, name(asked)}) == 4
    assert name("evaluation.forgetting=null") == names[0]


@pytest.mark.parametrize("content", [None, b"  \n", b"\xff\xfe"])
def test_a_missing_empty_or_invalid_text_is_refused(tmp_path, content):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"evaluation\.forgetting="):
        general_documents(str(path), tiny=True)
