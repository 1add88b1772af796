"""Packed rows through HELM and its twins, and bits per byte."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench.data.packing import Packer, whole_rows
from bench.data.tokens import encoded
from bench.models.helm.sizes import MODELS as KINDS
from bench.pretraining.measures import layer_similarity, mean_cosine
from bench.training.flops import flops_per_token, parameter_counts
from bench.training.packed import blocks, document_bits, forward
from bench.training.routing import Routing, evenness
from tests.helpers import random_model

SHARES = (0.1, 0.5)
TEXTS = ["Mia has 3 apples.", "3+4=7. 7+1=8.", "Tom is tall.", "One, two, three, four."]


@pytest.fixture(scope="module")
def models(tiny):
    """All architectures, untrained, of two blocks."""
    return {kind: random_model(kind, tiny[1]).eval() for kind in KINDS}


@pytest.fixture(scope="module")
def tokens(tiny, tmp_path_factory):
    return encoded(TEXTS, tiny[1], SHARES, tmp_path_factory.mktemp("tokens") / "x")


@pytest.mark.parametrize("kind", ["helm_mice", "llama_twin", "deepseek_twin"])
@torch.no_grad()
def test_no_token_sees_another_document(models, tokens, kind):
    model = models[kind]
    (rows,) = whole_rows(tokens, np.arange(4), 80, at_once=1)
    packed = forward(model, rows).logits[0]
    start = 0
    for number in range(4):
        ids = torch.tensor(tokens.document(number).astype(np.int64))[None]
        alone = model(input_ids=ids).logits[0]
        assert torch.allclose(packed[start : start + ids.shape[1]], alone, atol=2e-4)
        start += ids.shape[1]
    assert packed.isfinite().all()


def test_bits_per_byte_are_those_of_a_computation_by_hand(models, tokens):
    model = models["helm_d"]

    found = document_bits(model, tokens, np.arange(4), 16, 2, "test")
    for number, text in enumerate(TEXTS):
        ids = torch.tensor(tokens.document(number).astype(np.int64))
        nats = 0.0
        for start in range(0, len(ids) - 1, 15):  # a row holds 16 tokens: 15 predictions
            part = ids[start : start + 16]
            with torch.no_grad():
                logp = F.log_softmax(model(input_ids=part[None]).logits[0].double(), -1)
            for place in range(1, len(part)):
                if start + place < len(ids) - 1:  # the last token is the document's end
                    nats -= float(logp[place - 1, part[place]])
        assert tokens.sizes[number] == len(text.encode())
        assert found[number] == pytest.approx(nats / math.log(2), rel=1e-4)


def test_blocks_of_documents_add_up_to_all_of_them(monkeypatch):
    monkeypatch.setattr("bench.training.packed.BLOCKS", 3)
    parts = blocks(np.array([1.0, 2, 3, 4, 5]), np.array([10, 10, 10, 10, 10]))
    assert sum(parts["bits"]) == 15 and len(parts["bits"]) == 3 and sum(parts["bytes"]) == 50


@pytest.mark.parametrize("kind", ["helm_mice", "deepseek_twin"])
def test_routing_counts_tokens_and_balance_moves_the_bias_against_the_load(tiny, tokens, kind):
    model = random_model(kind, tiny[1]).train()
    rows = Packer(tokens, np.arange(4), 16, seed=0).rows(2)
    routing = Routing(model)
    with routing.counting(), torch.no_grad():
        forward(model, rows, labels=rows.labels)
        forward(model, rows, labels=rows.labels)
    assert int(routing.counts[1].sum()) == 2 * 2 * 16 * 2  # passes, rows, tokens, experts a token
    routing.balance()
    (layer,), (gate,) = routing.load(), routing.gates.values()
    assert layer["block"] == 1 and sum(layer["load"]) == pytest.approx(1)
    expected = [0.005 * (1 / 4 - share) for share in layer["load"]]
    assert gate.e_score_correction_bias.tolist() == pytest.approx(expected, abs=1e-7)
    assert evenness([0.25] * 4) == pytest.approx(1) and evenness([1.0, 0.0]) == 0
    assert evenness([0.5, 0.5, 0.0, 0.0]) == pytest.approx(0.5) and evenness([1.0]) == 1


def test_mean_cosine_is_that_of_all_pairs():
    states = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    cosines = [F.cosine_similarity(*states[[i, j]], dim=0) for i in range(7) for j in range(i)]
    assert mean_cosine(states) == pytest.approx(float(sum(cosines)) / len(cosines), abs=1e-6)


def test_the_public_initialisation_makes_tokens_alike(tiny, tokens):
    """HELM's public code starts with time columns that act as one large bias."""
    rows = Packer(tokens, np.arange(4), 64, seed=0).rows(1)
    last = {}
    for name in ("public", "balanced"):
        model = random_model("helm_mice", tiny[1], num_hidden_layers=4, initialization=name)
        found = layer_similarity(model, rows)
        last[name] = found["similarity"][-1]
        assert len(found["similarity"]) == 5 and len(found["routing"]) == 3
    assert last["public"] > 0.9 and last["balanced"] < 0.4


def test_parameters_and_arithmetic_by_hand(models, monkeypatch):
    model = models["llama_twin"]
    config = model.config
    width, inner, vocabulary = config.hidden_size, config.intermediate_size, config.vocab_size
    heads = config.num_attention_heads * config.head_dim
    block = 4 * width * heads + 3 * width * inner
    counts = parameter_counts(model)
    assert counts["without_vocabulary"] == 2 * (block + 2 * width) + width
    assert counts["total"] == counts["without_vocabulary"] + 2 * vocabulary * width
    matrices = 2 * block + vocabulary * width
    attention = 2 * 2 * heads * 100
    assert flops_per_token(model, 100) == 6 * (matrices + attention)
    mixture = models["deepseek_twin"]
    experts = sum(p.numel() for p in mixture.parameters() if p.ndim == 3)
    before, some = mixture.config.num_experts_per_tok, flops_per_token(mixture, 1)
    monkeypatch.setattr(mixture.config, "num_experts_per_tok", 4)
    assert flops_per_token(mixture, 1) - some == 6 * experts * (4 - before) / 4
