import pytest
import torch
import transformers

from bench.embeddings.matrices import input_scale, matrices_of, prefix_token, row_norms


def test_a_llama_with_tied_embeddings(tiny):
    model, tokenizer = tiny
    assert list(matrices_of(model)) == ["input"]
    assert input_scale(model, 300) == pytest.approx(1.0)
    assert prefix_token(tokenizer) == tokenizer.bos_token


def test_added_positions_are_no_factor():
    config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    assert input_scale(transformers.GPT2LMHeadModel(config).eval(), 5) is None


def test_norms_are_taken_in_parts_and_in_float32(monkeypatch):
    monkeypatch.setattr("bench.embeddings.matrices.CHUNK", 32)
    matrix = torch.randn(50, 16).bfloat16()
    assert torch.allclose(row_norms(matrix), matrix.float().norm(dim=1))
    centre = matrix.float().mean(dim=0)
    assert torch.allclose(row_norms(matrix, centre), (matrix.float() - centre).norm(dim=1))
