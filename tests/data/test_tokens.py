import hashlib

import numpy as np
import pytest

from bench.data.tokens import encoded
from bench.errors import InputError

SHARES = (0.2, 0.1)
TEXTS = [f"Document {number} has {number} apples." for number in range(60)]


def never():
    raise AssertionError("the documents were read again")
    yield


def test_a_document_has_a_start_and_an_end_token(tiny, tmp_path):
    tokenizer = tiny[1]
    tokens = encoded(TEXTS, tokenizer, SHARES, tmp_path / "x")
    expected = tokenizer(TEXTS[7], add_special_tokens=False)["input_ids"]
    expected = [tokenizer.bos_token_id, *expected, tokenizer.eos_token_id]
    assert tokens.document(7).tolist() == expected
    assert tokens.sizes[7] == len(TEXTS[7])
    assert tokens.lengths.sum() == len(tokens.ids)


def test_documents_are_encoded_once(tiny, tmp_path):
    first = encoded(TEXTS, tiny[1], SHARES, tmp_path / "x")
    again = encoded(never(), tiny[1], SHARES, tmp_path / "x")
    assert np.array_equal(first.ids, again.ids)
    assert np.array_equal(first.digests, again.digests)


def test_an_incomplete_encoding_is_not_used(tiny, tmp_path):
    def broken():
        yield from TEXTS[:10]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoded(broken(), tiny[1], SHARES, tmp_path / "x")
    assert len(encoded(TEXTS, tiny[1], SHARES, tmp_path / "x").sizes) == 60


@pytest.mark.parametrize("name", ["facts.json", "ids", "starts.npy", "digests.npy"])
@pytest.mark.parametrize("content", [b"[" * 100_000, None])
def test_damaged_tokens_are_encoded_again(tiny, tmp_path, name, content):
    first = encoded(TEXTS, tiny[1], SHARES, tmp_path / "x")
    ids = first.ids.tolist()
    if content is None:
        (tmp_path / "x" / name).unlink()
    else:
        (tmp_path / "x" / name).write_bytes(content)
    again = encoded(TEXTS, tiny[1], SHARES, tmp_path / "x")
    assert again.ids.tolist() == ids and len(again.sizes) == 60
    assert np.array_equal(encoded(never(), tiny[1], SHARES, tmp_path / "x").ids, again.ids)


def test_the_text_alone_decides_the_part_of_a_document(tiny, tmp_path):
    def parts(texts, shares, folder):
        tokens = encoded(texts, tiny[1], shares, tmp_path / folder)
        return {name: {texts[i] for i in numbers} for name, numbers in tokens.parts.items()}

    few = parts(TEXTS, (0.2, 0.1), "few")
    assert 4 <= len(few["validation"]) <= 20 and 2 <= len(few["test"]) <= 12
    assert sorted(text for part in few.values() for text in part) == sorted(TEXTS)
    more = parts([*TEXTS[::-1], *TEXTS, "another"], (0.2, 0.1), "more")
    assert {name: part - {"another"} for name, part in more.items()} == few
    wider = parts(TEXTS, (0.2, 0.4), "wide")
    assert wider["validation"] == few["validation"] and wider["test"] > few["test"]


def test_facts_give_the_size_of_each_part_and_a_hash_of_its_text(tiny, tmp_path):
    tokens = encoded(TEXTS, tiny[1], SHARES, tmp_path / "x")
    facts = tokens.facts()
    texts = [TEXTS[i] for i in tokens.parts["test"]]
    digests = b"".join(hashlib.sha256(text.encode()).digest() for text in texts)
    assert list(facts) == ["train", "validation", "test"]
    assert facts["test"] == {
        "documents": len(texts),
        "bytes": sum(map(len, texts)),
        "sha256": hashlib.sha256(digests).hexdigest(),
    }
    other = encoded([*TEXTS[:-1], "another"], tiny[1], SHARES, tmp_path / "y").facts()
    assert sum(other[name] != facts[name] for name in facts) >= 1


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["alone"], r"too short: with action\.validation=0\.5 action\.test=0\.4, none of its 1 "),
        ([], r"none of its 0 documents is left to train on.*data\.separator"),
    ],
)
def test_a_text_too_short_to_be_split_is_refused(tiny, tmp_path, texts, message):
    with pytest.raises(InputError, match=message):
        encoded(texts, tiny[1], (0.5, 0.4), tmp_path / "x")
