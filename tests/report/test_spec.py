"""What a sweep file may say about its table."""

import pytest

from bench.report.spec import PretrainingSpec, TableSpec

GIVEN = {"name": "t", "title": "T"}


def test_a_spec_is_read_from_a_sweep_file_s_mapping():
    more = {"note": None, "outside_averages": ["gsm8k"], "published": None}
    expected = TableSpec(name="t", title="T", outside_averages=("gsm8k",))
    assert TableSpec.from_mapping(GIVEN | more) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "T"}, "unknown key 'titel'. Did you mean title"),
        ({"judged_by": "mean"}, "judged_by: 'mean' is unknown, allowed: micro, macro"),
        ({"name": "a/b"}, "name is for files"),
        ({"name": 2024}, "name is for files"),
        ({"outside_averages": "gsm8k"}, r"write \[gsm8k\]"),
        ({"title": ""}, "title must be given"),
        ({"apart": {"r": 4}}, "apart.r is 4, but it names values"),
        ({"apart": 4}, "apart.OPTION is 4, but it names values"),
        ({"comparisons": [["hyplora", "lora"]]}, r"each names two methods: \{row: hyplora, ref"),
        ({"comparisons": [{"row": "lora", "reference": "lora"}]}, "each names two methods"),
        ({"comparisons": [{"row": "lora", "refrence": "dora"}]}, "each names two methods"),
        (
            {"comparisons": [{"row": "lora", "reference": "lora", "option": "low"}]},
            "comparisons: option: 'low' is unknown, allowed: none",
        ),
        ({"comparisons": {"row": "lora"}}, "comparisons is .*, but it is a list"),
        ({"figures": 5}, r"figures is 5, but it is a list: write \[5\]"),
        ({"figures": ["accuracies"]}, "'accuracies' is unknown, allowed: accuracy, cost, "),
        ({"figures": "gates"}, r"figures is 'gates', but it is a list: write \[gates\]"),
        ({"place": "first"}, "place is 'first'"),
    ],
)
def test_a_wrong_spec_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TableSpec.from_mapping(GIVEN | change)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["helm"], "expected a mapping with name and title"),
        (GIVEN | {"twins": 5}, "twins is 5, but it names models"),
        (GIVEN | {"twins": {"helm_d": 5}}, "twins.helm_d is 5, but it names models"),
    ],
)
def test_a_wrong_spec_of_pretraining_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        PretrainingSpec.from_mapping(given)
