import pytest

from bench.report.figures.cost import EVALUATE, FINETUNE, MEMORY, PARAMETERS, costs, front


def test_the_front_has_what_nothing_beats_for_less():
    points = [(1, 50), (2, 40), (2, 60), (3, 60), (4, 70), (5, 65)]
    assert front(points) == {(1, 50), (2, 60), (4, 70)}


def test_equals_stand_on_the_front_together(subject, record):
    runs = [record("lora"), record("dora")]
    (points,) = [found for measure, found in costs(subject(runs)).items() if measure == PARAMETERS]
    assert [point.front for point in points] == [True, True]


def test_rows_that_train_nothing_are_left_out(subject, record):
    runs = [record("none", correct=(1, 2)), record("lora"), record("dora")]
    found = costs(subject(runs))
    assert list(found) == [FINETUNE, EVALUATE, PARAMETERS]
    assert all([p.row.method for p in points] == ["lora", "dora"] for points in found.values())


@pytest.mark.parametrize(("peaks", "measure"), [((2, 3), MEMORY), ((2, None), PARAMETERS)])
def test_memory_stands_where_it_is_known_of_all(subject, record, training, peaks, measure):
    runs = [
        record(method, training=training(peak_bytes=peak and peak * 2**30))
        for method, peak in zip(("lora", "dora"), peaks, strict=True)
    ]
    found = costs(subject(runs))
    assert list(found)[-1] == measure
    if measure == MEMORY:
        assert [point.cost for point in found[MEMORY]] == [2.0, 3.0]
