from bench.efficiency.batching import measure_batching
from tests.evaluation.test_evaluate import PROTOCOL, SETS


def measured(model, tokenizer, **changes):
    sets = {"mawps": SETS["mawps"]}
    given = {"count": 4, "batch_size": 2, "context": 100, "rounds": 1} | changes
    return measure_batching(model, tokenizer, sets, PROTOCOL, **given)


def test_ways_of_batching_are_compared_on_the_same_prompts(tiny):
    found = measured(*tiny)
    assert found["prompts"] == found["same_texts"] == 4 and found["batch_size"] == 2
    assert 0 < found["tokens"] <= 8 and found["reason"] == ""
    assert list(found["loops"]) == ["static", "continuous"]
    assert (
        found["loops"]["static"]["ratio"] == 1.0 < found["loops"]["static"]["problems_per_second"]
    )


def test_without_a_problem_that_fits_there_is_no_measurement(tiny):
    assert measured(*tiny, context=9) is None
