import time

from bench.efficiency.timing import compare, interleave, speed


def order_of(names, rounds):
    calls = []
    workloads = {name: lambda name=name: calls.append(name) for name in names}
    seconds = interleave("toys", workloads, rounds)
    assert {name: len(figures) for name, figures in seconds.items()} == dict.fromkeys(names, rounds)
    return calls[2 * len(names) :]  # after two warm-up calls each


def test_every_round_runs_every_workload_in_an_order_of_its_own():
    calls = order_of("abc", 20)
    rounds = ["".join(calls[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds) and len(set(rounds)) >= 4
    assert order_of("abc", 20) == calls


def test_times_are_seconds_per_call():
    workloads = {"sleep": lambda: time.sleep(0.002), "nothing": lambda: None}
    seconds = interleave("toys", workloads, rounds=3, calls={"sleep": 1, "nothing": 50})
    assert min(seconds["sleep"]) >= 0.002 > 10 * min(seconds["nothing"])


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    # The machine is twice as slow in every other round, for both.
    slow = [1, 2, 1, 2, 1]
    seconds = {"a": [1.0 * s for s in slow], "b": [1.5 * s for s in slow]}
    timing = compare(seconds, "a")["b"]
    assert timing["ratio"] == timing["ratio_low"] == timing["ratio_high"] == 1.5
    assert (timing["low"], timing["median"], timing["high"]) == (1.5, 1.5, 3.0)


def test_speeds_are_inverse_ratios():
    timing = compare({"a": [1.0, 1.0, 1.0], "b": [1.0, 2.0, 4.0]}, "a")["b"]
    assert speed(timing) == {"ratio": 1 / 2, "ratio_low": 1 / 3, "ratio_high": 1 / 1.5}
