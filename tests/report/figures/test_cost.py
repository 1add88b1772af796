import pytest

from bench.report.figures.cost import EVALUATE, FINETUNE, MEMORY, PARAMETERS, costs, figure, front
from tests.report.score_runs import finished


def test_the_front_has_what_nothing_beats_for_less():
    points = [(1, 50), (2, 40), (2, 60), (3, 60), (4, 70), (5, 65)]
    assert front(points) == {(1, 50), (2, 60), (4, 70)}


def test_equal_rows_are_on_the_front_together(table, drawn):
    facts = drawn(figure(table([finished("lora"), finished("dora")])))
    assert {fact["row"] for fact in facts if fact["Pareto front"] == "yes"} == {"LoRA", "DoRA"}


def test_rows_that_train_nothing_are_left_out(table):
    found = costs(table([finished("none", correct=(1, 2)), finished("lora"), finished("dora")]))
    assert list(found) == [FINETUNE, EVALUATE, PARAMETERS]
    assert all([row.method for row, _ in rows] == ["lora", "dora"] for rows in found.values())


@pytest.mark.parametrize(("peaks", "measure"), [((2, 3), MEMORY), ((2, None), PARAMETERS)])
def test_memory_is_shown_if_it_is_known_of_all(table, training, peaks, measure):
    runs = [
        finished(method, training=training(peak_bytes=peak and peak * 2**30))
        for method, peak in zip(("lora", "dora"), peaks, strict=True)
    ]
    found = costs(table(runs))
    assert list(found)[-1] == measure
    if measure == MEMORY:
        assert [amount for _, amount in found[MEMORY]] == [2.0, 3.0]
