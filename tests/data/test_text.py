import json

import pytest

from bench.data.text import TextSettings
from bench.errors import InputError


def text(path, **options):
    return TextSettings("text", str(path), **options)


def test_files_of_a_folder_are_documents_in_a_fixed_order(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("one\n\nstill one", encoding="utf-8")
    lines = [{"text": "zwei ü"}, {"text": "three", "id": 3}, {"text": "  "}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    (tmp_path / "picture.png").write_bytes(b"\xff")
    assert list(text(tmp_path).read()) == ["zwei ü", "three", "one\n\nstill one"]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_byte_order_mark_is_no_text(tmp_path, name):
    content = "one" if name == "a.txt" else '{"text": "one"}'
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    assert list(text(tmp_path).read()) == ["one"]


def test_a_separator_splits_a_file(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text("one\n\ntwo\nlines\n\n\n\n")
    assert list(text(path, separator="\\n\\n").read()) == ["one", "two\nlines"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"caf\xe9", r"a\.txt is not in UTF-8 \(byte 3 is 0xe9\).*iconv"),
        ("a.jsonl", b'{"text": "\xe9"}', "is not in UTF-8"),
        ("a.jsonl", b'{"text": "good"}\n{"text": ', "line 2 of .*JSONDecodeError"),
        ("a.jsonl", b'{"body": "good"}', "line 1 of .*KeyError.*data.field=NAME"),
        ("a.jsonl", b'{"text": 3}', "line 1 of .*3 is not text"),
        ("a.jsonl", b'{"text": "cut \\ud83d"}', "line 1 of .*surrogates not allowed"),
        ("a.jsonl", b"[1]", "line 1 of .*TypeError"),
        ("a.csv", b"text", r"contains no \.txt or \.jsonl file"),
    ],
)
def test_invalid_text_is_refused_with_its_place(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        settings = text(tmp_path)
        settings.content_hash()
        list(settings.read())


def test_a_missing_path_and_an_unknown_source_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        text(tmp_path / "nowhere").content_hash()
    (tmp_path / "a.pdf").touch()
    with pytest.raises(InputError, match=r"not a \.txt or \.jsonl file"):
        text(tmp_path / "a.pdf").content_hash()
    with pytest.raises(InputError, match=r"'llama_adapters'.*Known: synthetic, text"):
        TextSettings("llama_adapters")


def test_the_hash_is_of_the_contents_and_of_how_they_are_read(tmp_path):
    hashes = set()
    for folder, content in (("x", "one"), ("y", "one"), ("z", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(content)
        hashes.add(text(tmp_path / folder).content_hash())
    assert len(hashes) == 2
    assert text(tmp_path / "x", separator="o").content_hash() not in hashes


def test_the_corpus_is_fixed_by_its_seed():
    first, again, other = (TextSettings("synthetic", documents=5, seed=s) for s in (0, 0, 1))
    assert list(first.read()) == list(again.read()) != list(other.read())
    assert first.content_hash() == again.content_hash() != other.content_hash()
    assert TextSettings("synthetic", documents=6).content_hash() != first.content_hash()
