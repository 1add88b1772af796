import time

import pytest
import torch

from bench.efficiency.timing import compare, interleave

CPU = torch.device("cpu")


def test_every_round_runs_every_work_in_an_order_of_its_own():
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = interleave(works, rounds=20, calls={}, device=CPU)
    assert {name: len(figures) for name, figures in seconds.items()} == {"a": 20, "b": 20, "c": 20}
    rounds = ["".join(calls[i : i + 3]) for i in range(6, 66, 3)]  # behind two warm-up calls each
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) >= 4


def test_figures_are_seconds_of_one_call():
    works = {"sleep": lambda: time.sleep(0.002), "nothing": lambda: None}
    seconds = interleave(works, rounds=3, calls={"nothing": 50}, device=CPU)
    assert min(seconds["sleep"]) >= 0.002 > 10 * min(seconds["nothing"])


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    # The machine is twice as slow in every other round, which falls on both alike.
    slow = [1, 2, 1, 2, 1]
    seconds = {"a": [1.0 * s for s in slow], "b": [1.5 * s for s in slow]}
    timing = compare(seconds, "a")["b"]
    assert timing.ratio == timing.ratio_low == timing.ratio_high == 1.5
    assert (timing.low, timing.median, timing.high) == (1.5, 1.5, 3.0)


def test_one_round_has_no_spread():
    timing = compare({"a": [2.0], "b": [3.0]}, "a")["b"]
    assert (timing.ratio, timing.ratio_low, timing.rounds) == (1.5, 1.5, 1)


def test_progress_is_told_of_each_figure():
    told = []
    interleave({"a": lambda: None, "b": lambda: None}, 3, {}, CPU, told=lambda: told.append(1))
    assert len(told) == 6


def test_the_same_seed_gives_the_same_orders():
    def order():
        calls = []
        works = {name: lambda name=name: calls.append(name) for name in "abcd"}
        interleave(works, rounds=5, calls={}, device=CPU, seed=7)
        return calls

    assert order() == order()


def test_the_reference_must_be_among_the_works():
    with pytest.raises(KeyError):
        compare({"b": [1.0]}, "a")
