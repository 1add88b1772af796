import pytest
import torch
import transformers

from bench.embeddings.matrices import in_front, input_scale, matrices_of, row_norms


def test_a_tied_output_is_no_matrix_of_its_own(tiny):
    assert matrices_of(tiny[0]).output is None
    assert list(matrices_of(tiny[0]).roles) == ["input"]


def test_a_llama_reads_its_embedding_as_it_is(tiny):
    assert input_scale(tiny[0], 300) == pytest.approx(1.0)


def test_where_positions_are_added_there_is_no_factor():
    config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    assert input_scale(transformers.GPT2LMHeadModel(config).eval(), 5) is None


def test_norms_are_taken_in_parts_and_in_float32(monkeypatch):
    monkeypatch.setattr("bench.embeddings.matrices.CHUNK", 32)
    matrix = torch.randn(50, 16).bfloat16()
    assert torch.allclose(row_norms(matrix), matrix.float().norm(dim=1))
    less = matrix.float().mean(dim=0)
    assert torch.allclose(row_norms(matrix, less), (matrix.float() - less).norm(dim=1))


def test_what_stands_in_front_of_a_text_is_told(tiny):
    assert in_front(tiny[1]) == tiny[1].bos_token_id
