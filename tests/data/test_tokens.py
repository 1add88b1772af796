import numpy as np
import pytest

from bench.data.tokens import encoded
from bench.errors import InputError

TEXTS = [f"Document {number} has {number} apples." for number in range(60)]


def never():
    raise AssertionError("the documents were read again")
    yield


def test_a_document_stands_between_its_front_and_its_end(tiny, tmp_path):
    tokenizer = tiny[1]
    tokens = encoded(TEXTS, tokenizer, 0.3, tmp_path / "x")
    expected = tokenizer(TEXTS[7], add_special_tokens=False)["input_ids"]
    assert tokens.document(7).tolist() == [
        tokenizer.bos_token_id,
        *expected,
        tokenizer.eos_token_id,
    ]
    assert tokens.sizes[7] == len(TEXTS[7])
    assert tokens.lengths.sum() == len(tokens.ids)


def test_documents_are_encoded_once(tiny, tmp_path):
    first = encoded(TEXTS, tiny[1], 0.3, tmp_path / "x")
    again = encoded(never(), tiny[1], 0.3, tmp_path / "x")
    assert np.array_equal(first.ids, again.ids)
    assert np.array_equal(first.held_out, again.held_out)


def test_half_an_encoding_is_not_taken_for_a_whole_one(tiny, tmp_path):
    def broken():
        yield from TEXTS[:10]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoded(broken(), tiny[1], 0.3, tmp_path / "x")
    assert len(encoded(TEXTS, tiny[1], 0.3, tmp_path / "x").sizes) == 60


@pytest.mark.parametrize("name", ["facts.json", "ids", "starts.npy", "places.npy"])
@pytest.mark.parametrize("content", [b"", b"[" * 100_000, None])
def test_damaged_tokens_are_made_anew(tiny, tmp_path, name, content):
    first = encoded(TEXTS, tiny[1], 0.3, tmp_path / "x")
    ids = first.ids.tolist()
    if content is None:
        (tmp_path / "x" / name).unlink()
    else:
        (tmp_path / "x" / name).write_bytes(content)
    again = encoded(TEXTS, tiny[1], 0.3, tmp_path / "x")
    assert again.ids.tolist() == ids and len(again.sizes) == 60
    assert np.array_equal(encoded(never(), tiny[1], 0.3, tmp_path / "x").ids, again.ids)


def test_the_text_alone_decides_what_is_held_out(tiny, tmp_path):
    def held_out(texts, share, folder):
        tokens = encoded(texts, tiny[1], share, tmp_path / folder)
        return {text for text, out in zip(texts, tokens.held_out, strict=True) if out}

    few = held_out(TEXTS, 0.2, "few")
    assert 4 <= len(few) <= 20
    assert held_out([*TEXTS[::-1], "another"], 0.2, "more") - {"another"} == few
    assert few <= held_out(TEXTS, 0.5, "half")


def test_a_text_too_short_to_be_parted_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match=r"too short.*its 1 documents.*data\.separator"):
        encoded(["alone"], tiny[1], 0.5, tmp_path / "one")
    with pytest.raises(InputError, match="its 0 documents"):
        encoded([], tiny[1], 0.5, tmp_path / "none")
