import hashlib
import itertools
import json
import re
from collections import Counter

import pytest

from bench.data.synthetic.corpus import documents
from bench.data.synthetic.draw import SPLITS, Draw
from bench.data.synthetic.problems import FAMILIES, Difficulty, generate
from bench.data.synthetic.stories import SCENARIOS, compute, number_split, wording_split
from bench.errors import InputError

SIZES = {"train": 200, "validation": 40, "test": 100}


@pytest.fixture(scope="module")
def rows():
    return {
        split: [row for family in FAMILIES for row in generate(family, split, size, seed=0)]
        for split, size in SIZES.items()
    }


def masked(row):
    return re.sub(r"\d+", "#", row["instruction"])


def number_set(row):
    """The numbers of a row's story, without its options."""
    story = row["instruction"].split(" Answer Choices: ")[0]
    return tuple(sorted(map(int, re.findall(r"\d+", story))))


def options(row):
    found = re.findall(r"\(([A-E])\) (\d+)", row["instruction"].split(" Answer Choices: ")[1])
    return {letter: int(value) for letter, value in found}


@pytest.fixture(scope="module")
def wordings():
    """The texts of each split with numbers masked and the same words in every slot."""
    slots = ("n", "m", "he", "He", "his", "his_m", "o", "o2", "c", "p", "place", "day", "adj")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "bench.data.synthetic.problems.people_and_things", lambda *_: {s: s for s in slots}
        )
        patch.setattr("bench.data.synthetic.problems.DISTRACTORS", ("",))
        return {
            split: {
                masked(row) for family in FAMILIES for row in generate(family, split, size, seed=0)
            }
            for split, size in {"train": 250, "validation": 50, "test": 100}.items()
        }


def test_splits_share_no_wording_and_no_set_of_numbers(rows, wordings):
    assert min(map(len, wordings.values())) > 30
    for one, other in itertools.combinations(SPLITS, 2):
        assert not wordings[one] & wordings[other]
        assert not set(map(number_set, rows[one])) & set(map(number_set, rows[other]))


def test_every_scenario_has_wordings_in_every_split():
    for scenario in SCENARIOS:
        assert {wording_split(scenario, w) for w in scenario.wordings} == set(SPLITS), scenario.name


def test_every_rationale_is_true_equations_that_end_in_the_answer(rows):
    for row in itertools.chain(*rows.values()):
        last = re.fullmatch(
            r"(?:\d+[-+*/]\d+=(\d+)\. )+(\1 is [A-E]\. )?The answer is (\w+)\.", row["output"]
        )
        for x, operation, y, z in re.findall(r"(\d+)([-+*/])(\d+)=(\d+)", row["output"]):
            assert compute(int(x), operation, int(y)) == int(z)
        steps = re.findall(r"(\d+)[-+*/]\d+=(\d+)", row["output"])
        assert all(one[1] == other[0] for one, other in itertools.pairwise(steps))
        assert last[3] == row["answer"]
        found = options(row)[row["answer"]] if last[2] else int(row["answer"])
        assert found == int(last[1])
        operands = re.findall(r"(?:^|[-+*/])(\d+)", row["output"])
        assert set(map(int, operands)) <= set(number_set(row))
        assert not re.search(r"[{}_]", row["instruction"])  # no slot is left unfilled


@pytest.mark.parametrize("distractors", [1, 3])
def test_svamp_problems_have_numbers_that_do_not_matter(distractors):
    rows = generate("SVAMP", "train", 100, 0, Difficulty(svamp_distractors=distractors))
    assert all(len(number_set(row)) == 2 + distractors for row in rows)


def test_multiple_choice_is_not_solved_by_position_size_or_copying():
    rows = generate("AQuA", "train", 300, seed=0)
    assert all(len(set(options(row).values())) == 5 for row in rows)
    letters = Counter(row["answer"] for row in rows)
    assert set(letters) == set("ABCDE") and max(letters.values()) < 0.3 * len(rows)
    ranks = Counter(
        sorted(options(row).values()).index(options(row)[row["answer"]]) for row in rows
    )
    assert max(ranks.values()) < 0.4 * len(rows)
    in_text = sum(options(row)[row["answer"]] in number_set(row) for row in rows)
    assert in_text < 0.05 * len(rows)


@pytest.mark.parametrize(
    ("family", "difficulty", "least", "most"),
    [
        ("gsm8k", Difficulty(), 2, 4),
        ("gsm8k", Difficulty(gsm8k_steps=2), 2, 2),
        ("mawps", Difficulty(), 1, 2),
        ("mawps", Difficulty(mawps_steps=1), 1, 1),
        ("AQuA", Difficulty(), 1, 1),
        ("AQuA", Difficulty(aqua_steps=3), 1, 3),
    ],
)
def test_the_number_of_equations_is_within_the_difficulty(family, difficulty, least, most):
    rows = generate(family, "train", 100, 0, difficulty)
    counts = {row["output"].count("=") for row in rows}
    assert counts == set(range(least, most + 1))


# Changing a hash changes the identity of all runs.
HASHES = {
    "mawps": "1743bde0a73e0d01",
    "SVAMP": "1f7d3cd77ce4fc75",
    "gsm8k": "52861f42a40c0c66",
    "AQuA": "29a662d68a8fd0ca",
}


@pytest.mark.parametrize(("family", "digest"), HASHES.items())
def test_rows_are_the_same_on_every_platform(family, digest):
    text = json.dumps([generate(family, split, 50, seed=3) for split in SPLITS])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_no_equation_of_a_test_chain_is_in_a_training_chain():
    def equations(split):
        rows = generate("gsm8k", split, 60, seed=0)
        return {e for row in rows for e in re.findall(r"\d+[-+*/]\d+=", row["output"])}

    assert len(equations("test")) > 100
    assert not equations("test") & equations("train")


def test_difficulty_bounds_the_sums_and_the_seed_changes_the_rows():
    rows = generate("mawps", "train", 300, 0, Difficulty(largest=30, mawps_steps=1))
    sums = [re.match(r"(\d+)[-+](\d+)=(\d+)", row["output"]) for row in rows]
    assert max(int(n) for match in sums if match for n in match.groups()) <= 30
    assert generate("mawps", "train", 20, seed=0) != generate("mawps", "train", 20, seed=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generate("mawp", "train", 1, 0), "unknown family 'mawp'"),
        (lambda: generate("mawps", "dev", 1, 0), "unknown split 'dev'"),
        (lambda: generate("constant", "train", 2, 0), "only 1 different constant problems"),
        (lambda: Difficulty(largest=5), "data.largest must be between"),
        (lambda: Difficulty(gsm8k_steps=1), "data.gsm8k_steps must be between"),
        (lambda: Difficulty(aqua_steps=0), "data.aqua_steps must be between"),
    ],
)
def test_what_cannot_be_generated_is_refused(monkeypatch, call, message):
    monkeypatch.setitem(FAMILIES, "constant", lambda *_: {"instruction": "the only one"})
    with pytest.raises(InputError, match=message):
        call()


def test_stories_of_the_corpus_use_only_numbers_of_the_training_split():
    stories = [
        line
        for document in itertools.islice(documents(0), 1000)
        for line in document.split("\n")
        if re.match(r"[A-Z][a-z]+ .*[a-z]", line) and "=" in line and " are 1" not in line
        if not re.match(r"(Step|In numbers|Now count|Written|\d)", line)
    ]
    found = re.findall(r"(\d+)[-+*/](\d+)=", "\n".join(stories))
    pairs = {(int(x), int(y)) for x, y in found}
    assert len(pairs) > 300
    assert {number_split(*pair) for pair in pairs} == {"train"}


def test_equations_of_the_corpus_are_true_and_no_text_has_the_format_of_a_benchmark():
    text = "\n".join(itertools.islice(documents(0), 1000))
    found = re.findall(r"(\d+)([-+*/])(\d+)=(\d+)\.", text)
    assert len(found) > 2500
    assert all(compute(int(x), op, int(y)) == int(z) for x, op, y, z in found)
    assert not re.search(r"Question:|The answer is|Answer Choices|\?", text)


def test_frequent_words_are_drawn_more_often_than_rare_ones():
    draw, words = Draw("zipf"), list(range(50))
    drawn = [draw.zipf(words) for _ in range(5000)]
    assert drawn.count(0) > 3 * drawn.count(10) > 0
    assert drawn.count(49) > 0
