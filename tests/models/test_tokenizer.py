import pytest
from tokenizers import processors

from bench.errors import InputError
from bench.models.tiny_base import TINY_BASE
from bench.models.tokenizer import check_tokenizer

ENDED = processors.TemplateProcessing(
    single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
)
PROCESSORS = {
    "a template": ENDED,
    "a template in a sequence": processors.Sequence([processors.ByteLevel(), ENDED]),
}


@pytest.fixture
def tokenizer(tiny):
    return tiny[1].from_pretrained(TINY_BASE)


@pytest.mark.parametrize("kind", PROCESSORS)
def test_an_appended_end_is_taken_off(tokenizer, kind):
    expected = tokenizer("Mary has 3 books.")["input_ids"]
    tokenizer.backend_tokenizer.post_processor = PROCESSORS[kind]
    assert tokenizer("Mary has 3 books.")["input_ids"] == [*expected, 2]
    check_tokenizer(tokenizer, "it")
    assert tokenizer("Mary has 3 books.")["input_ids"] == expected
    assert tokenizer("a", "b")["input_ids"][-1] != 2


def test_an_end_that_is_appended_in_another_way_is_refused(tokenizer):
    ends = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    tokenizer.backend_tokenizer.post_processor = ends
    with pytest.raises(InputError, match="it appends its end-of-sequence token </s>"):
        check_tokenizer(tokenizer, "it")


def test_an_empty_end_is_refused_and_other_empty_tokens_are_none(tokenizer):
    tokenizer.bos_token = tokenizer.pad_token = ""
    check_tokenizer(tokenizer, "it")
    assert tokenizer.bos_token is None and tokenizer.pad_token == "</s>"
    for end in ("", None):
        tokenizer.eos_token = end
        with pytest.raises(InputError, match=rf"eos_token is {end!r}\): set eos_token in its"):
            check_tokenizer(tokenizer, "it")


def test_padding_needs_no_row_of_the_embedding_but_other_tokens_do(tokenizer):
    entries = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    check_tokenizer(tokenizer, "it", entries)
    assert tokenizer.pad_token == "</s>"
    tokenizer.add_tokens(["another"])
    with pytest.raises(InputError, match="'another' has no row"):
        check_tokenizer(tokenizer, "it", entries + 1)
