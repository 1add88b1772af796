import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bench.data.problems import Problem
from bench.embeddings.frequency import (
    content_words,
    count_tokens,
    power_law,
    sum_of,
    text_of,
    token_texts,
)


@pytest.fixture(scope="module")
def counted(tiny):
    """A function that counts texts, and gives what `seen` types are as text."""
    tokenizer = tiny[1]

    def count(*texts):
        counts = count_tokens(tokenizer, texts, len(tokenizer))
        return counts, token_texts(tokenizer, counts.seen.tolist())

    return count


def test_each_type_is_counted_and_what_a_tokenizer_puts_in_front_is_not(counted, tiny):
    counts, texts = counted("Mary has 3 apples.", "Mary has 3 apples.")
    assert counts.total[tiny[1].bos_token_id] == 0
    assert counts.total.sum() == 2 * len(tiny[1]("Mary has 3 apples.")["input_ids"]) - 2
    assert "".join(sorted(texts)) and counts.total[counts.seen].min() == 2


def test_types_that_occur_stand_the_most_frequent_first(counted):
    counts, texts = counted("Mary has has has apples apples")
    assert texts[:2] == [" has", " apples"]
    assert list(counts.total[counts.seen]) == sorted(counts.total[counts.seen], reverse=True)


def test_a_token_within_a_word_is_no_whole_word(counted):
    counts, texts = counted("The has, hashas has.")
    has = counts.seen[texts.index(" has")]
    # "hashas" begins with it, and goes on.
    assert (counts.total[has], counts.whole[has]) == (3, 2)


def test_words_at_both_ends_of_a_text_are_whole(counted):
    counts, texts = counted("Mary", "Mary")
    assert texts == ["Mary"] and counts.whole[counts.seen].tolist() == [2]


def test_a_digit_or_a_mark_is_no_word(counted):
    counts, texts = counted("Mary has 3 apples.")
    assert counts.whole[counts.seen[texts.index("3")]] == 0
    assert counts.whole[counts.seen[texts.index(".")]] == 0


def test_content_words_are_long_whole_and_no_function_words(counted):
    counts, texts = counted("There are 3 apples of Mary, hashas is")
    chosen = [
        text for text, is_one in zip(texts, content_words(counts, texts), strict=True) if is_one
    ]
    assert set(chosen) == {" apples", " Mary"}


def test_no_text_has_no_counts(counted):
    counts, texts = counted()
    assert counts.total.sum() == 0 and texts == []


def test_counts_of_sets_add_up(counted):
    one, _ = counted("Mary has")
    both = sum_of([one, counted("has has")[0]])
    assert both.total.sum() == one.total.sum() + counted("has has")[0].total.sum()


def test_sentencepiece_keeps_the_space_of_the_first_word():
    vocabulary = {"▁dog": 0, "▁dogs": 1, "s": 2, "?": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")
    assert fast.decode([0]) == "dog"
    assert token_texts(fast, [0, 2]) == [" dog", "s"]
    assert count_tokens(fast, ["dog dogs"], 4).whole.tolist() == [1, 1, 0, 0]


def test_a_problem_says_its_instruction_and_its_input():
    assert text_of(Problem("boolq", " Is it so? ", "It is.", "", "true")) == "Is it so?\nIt is."
    assert text_of(Problem("mawps", "How many?", "", "", "1")) == "How many?"


def test_the_exponent_of_drawn_counts_is_found():
    counts, _ = _drawn(np.random.default_rng(0).zipf(1.9, 3000))
    law = power_law(counts, 0, 0)
    assert law["low"] < 1.9 < law["high"] and law["high"] - law["low"] < 0.2
    assert law["p"] is None and law["against"]["exponential"]["ratio"] > 100


def test_equal_counts_have_no_exponent():
    law = power_law(_drawn(np.full(50, 3))[0], 10, 0)
    assert set(law.values()) == {None}


def _drawn(values):
    from bench.embeddings.frequency import Counts

    total = np.append(values, 0).astype(np.int64)
    return Counts(total, np.zeros_like(total)), None
