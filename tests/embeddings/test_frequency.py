import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bench.data.problems import Problem
from bench.embeddings.frequency import (
    Counts,
    content_words,
    count_tokens,
    power_law,
    text_of,
    token_texts,
)


@pytest.fixture(scope="module")
def counted(tiny):
    """A function that counts texts, with the texts of the types seen."""
    tokenizer = tiny[1]

    def count(*texts):
        counts = count_tokens(tokenizer, texts, len(tokenizer))
        return counts, token_texts(tokenizer, counts.seen.tolist())

    return count


def test_each_type_is_counted_without_special_tokens(counted, tiny):
    counts, _ = counted("Mary has 3 apples.", "Mary has 3 apples.")
    assert counts.total[tiny[1].bos_token_id] == 0
    assert counts.total.sum() == 2 * len(tiny[1]("Mary has 3 apples.")["input_ids"]) - 2
    assert counts.total[counts.seen].min() == 2
    counts, texts = counted()
    assert counts.total.sum() == 0 and texts == []


def test_the_most_frequent_types_come_first(counted):
    counts, texts = counted("Mary has has has apples apples")
    assert texts[:2] == [" has", " apples"]
    assert list(counts.total[counts.seen]) == sorted(counts.total[counts.seen], reverse=True)


@pytest.mark.parametrize(
    ("texts", "token", "total", "whole"),
    [
        (["The has, hashas has."], " has", 3, 2),  # "hashas" begins with it
        (["Mary", "Mary"], "Mary", 2, 2),
        (["Mary has 3 apples."], "3", 1, 0),
        (["Mary has 3 apples."], ".", 1, 0),
    ],
)
def test_whole_words_are_letters_between_other_characters(counted, texts, token, total, whole):
    counts, found = counted(*texts)
    number = counts.seen[found.index(token)]
    assert (counts.total[number], counts.whole[number]) == (total, whole)


def test_content_words_are_long_whole_and_no_function_words(counted):
    counts, texts = counted("There are 3 apples of Mary, hashas is")
    chosen = np.array(texts)[content_words(counts, texts)]
    assert set(chosen) == {" apples", " Mary"}


def test_sentencepiece_keeps_the_space_of_the_first_word():
    vocabulary = {"▁dog": 0, "▁dogs": 1, "s": 2, "?": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")
    assert fast.decode([0]) == "dog"
    assert token_texts(fast, [0, 2]) == [" dog", "s"]
    assert count_tokens(fast, ["dog dogs"], 4).whole.tolist() == [1, 1, 0, 0]


def test_a_problems_text_is_its_instruction_and_input():
    assert text_of(Problem("boolq", " Is it so? ", "It is.", "", "true")) == "Is it so?\nIt is."
    assert text_of(Problem("mawps", "How many?", "", "", "1")) == "How many?"


def power_law_of(values):
    total = np.append(values, 0).astype(np.int64)
    return power_law(Counts(total, np.zeros_like(total)), 0, 0)


def test_the_exponent_of_drawn_counts_is_found():
    law = power_law_of(np.random.default_rng(0).zipf(1.9, 3000))
    assert law["low"] < 1.9 < law["high"] and law["high"] - law["low"] < 0.2
    assert law["p"] is None and law["against"]["exponential"]["ratio"] > 100


def test_equal_counts_have_no_exponent():
    assert set(power_law_of(np.full(50, 3)).values()) == {None}
