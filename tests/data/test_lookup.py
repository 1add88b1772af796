import itertools
import re

import pytest

from bench.data.synthetic.draw import Draw
from bench.data.synthetic.lookup import FORMS, lookup
from bench.data.synthetic.stories import compute, number_split
from bench.tasks.task import LETTERS


@pytest.fixture(scope="module")
def made():
    draw = Draw("test")
    return [lookup(draw) for _ in range(1000)]


def answers(item):
    return [item.text[start:end] for start, end in item.answers]


def test_each_answer_is_at_its_position_and_no_text_has_the_format_of_a_benchmark(made):
    for item in made:
        assert not re.search(r"Question:|The answer is|Answer Choices|\?", item.text)
        for start, end in item.answers:
            assert item.text[start - 4 : start] == " is " and item.text[end] == "."


@pytest.mark.parametrize("form", FORMS)
def test_a_statement_pairs_a_value_with_its_label_in_the_list(monkeypatch, form):
    monkeypatch.setattr("bench.data.synthetic.lookup.FORMS", (form,))
    draw = Draw("pairs")
    for _ in range(200):
        item = lookup(draw)
        for start, end in item.answers:
            asked = re.search(r"(?:^|\. )([^.]+) is $", item.text[:start])[1]
            label, value = sorted(
                (asked, item.text[start:end]), key=lambda text: text not in LETTERS
            )
            entry = re.escape(form[0].format(a=label, v=value))
            assert re.search(rf"(?<!\w){entry}(?=[ ,.])", item.text), (entry, item.text)


def test_a_list_has_the_requested_number_of_options():
    draw = Draw("options")
    for options in (2, 3, 4, 5):
        items = [lookup(draw, options=options, queries=30) for _ in range(50)]
        assert max(len({*answers(item)} & {*"ABCDE"}) for item in items) == options


def test_all_labels_are_about_equally_frequent():
    draw = Draw("labels")
    counts = dict.fromkeys("ABCDE", 0)
    for _ in range(3000):
        answer = answers(lookup(draw, options=5, queries=1))[0]
        if answer in counts:
            counts[answer] += 1
    assert max(counts.values()) < 1.25 * min(counts.values())


def test_equations_are_true_and_stories_are_of_the_training_split(made):
    equations = [re.findall(r"(\d+)([-+*/])(\d+)=(\d+)\.", item.text) for item in made]
    assert sum(map(bool, equations)) > 250
    for x, operation, y, z in itertools.chain(*equations):
        assert compute(int(x), operation, int(y)) == int(z)
    stories = [
        found[0]
        for found, item in zip(equations, made, strict=True)
        if found and re.match(r"[A-Z][a-z]+ (has|owns|starts)", item.text)
    ]
    assert len(stories) > 20
    assert {number_split(int(x), int(y)) for x, _, y, _ in stories} == {"train"}
