"""The efficiency report: parts and cases that the committed measurement does not have."""

import pytest

from bench.report.efficiency import efficiency_report

RATIO = {"ratio": 1.75, "ratio_low": 1.7, "ratio_high": 1.8}
PARTS = {
    "hyperbolicity": {
        "prompts": 1000,
        "tokens": 64,
        "dimension": 192,
        "seconds": 1.3,
        "sizes": [
            {
                "spaces": 512,
                "points": 64,
                "difference": 1e-7,
                "routines": {"first": {"seconds": 0.01, "peak_bytes": 2**20, **RATIO}},
            }
        ],
    },
    "helm": {
        "size": "tiny",
        "vocabulary": 1536,
        "dtype": "float32",
        "batch": 1,
        "tokens": 512,
        "rounds": 11,
        "pairs": {
            "helm_d": {
                "twin": "llama_twin",
                "works": {
                    "step": {
                        name: {"seconds": 0.5, **RATIO}
                        for name in ("helm_d", "llama_twin", "again")
                    }
                },
                "cached": {"helm_d": 93, "llama_twin": 64},
                "parameters": {"helm_d": 10, "llama_twin": 11},
            }
        },
    },
    "evaluation": {
        "model": "tiny",
        "taught": {"rows": 100, "data": ["mawps"], "epochs": 1.0},
        "problems": 20,
        "asked": 21,
        "sets": {"mawps": 20},
        "max_new_tokens": 64,
        "chunk": 5,
        "batch_size": 32,
        "same_predictions": 19,
        "same_texts": 18,
        "loops": {
            name: {
                "problems_per_second": 2.0,
                "tokens": 30.0,
                "at_limit": 1,
                "accuracy": 50.0,
                **RATIO,
            }
            for name in ("published loop", "fast")
        },
        "differing": [{"task": "mawps", "instruction": "1 + 1?", "published": "2", "ours": None}]
        * 25,
    },
}


@pytest.fixture
def measured(measurement):
    return measurement("efficiency")


def table(measured, key):
    return next(table for table in efficiency_report(measured).tables if table.key == key)


def cells(found, name):
    return next(row.cells for row in found.rows if row.names[0] == name)


def test_memory_is_a_column_if_it_was_measured(measured):
    for times in measured["cases"][0]["works"].values():
        for method in times:
            times[method]["peak_bytes"] = 3 * 2**30
    found = efficiency_report(measured).tables[0]
    assert found.columns[-2].label == "Peak memory, GiB"
    assert cells(found, "LoRA")["peak_gib"].value == 3.0


@pytest.mark.parametrize(
    ("part", "row", "column", "value"),
    [
        ("hyperbolicity", "first", "peak_mib", 1.0),
        ("helm", "HELM-D", "cached", 93),
        ("evaluation", "this project, protocol=fast", "accuracy", 50.0),
    ],
)
def test_further_measurements_have_tables_of_their_own(measured, part, row, column, value):
    measured[part] = PARTS[part]
    found = cells(table(measured, part), row)
    assert found[column].value == value
    ratio = found["step" if part == "helm" else "ratio"]
    assert (ratio.value, ratio.low, ratio.high) == (1.75, 1.7, 1.8)


def test_predictions_that_differ_are_listed_up_to_a_number(measured):
    measured["evaluation"] = PARTS["evaluation"]
    found = table(measured, "differing")
    assert len(found.rows) == 20 and found.notes == ("5 more are in the JSON file.",)
    assert found.rows[0].cells["ours"].value == "null"


PASSES = ("forward", "backward", "decode")


def counts(operations, launches):
    return {
        "operations": dict(zip(PASSES, operations, strict=True)),
        "launches": dict(zip(PASSES, launches, strict=True)),
    }


OPERATIONS = [
    {
        "dtype": "bfloat16",
        "regime": "training",
        "methods": {
            "none": counts((1, 1, 1), (None,) * 3),
            "lora": counts((9, 18, 7), (None,) * 3),
        },
    }
]


def test_operations_are_reported_per_regime_and_kernels_if_they_were_counted(measured):
    measured["operations"] = OPERATIONS
    found = table(measured, "operations")
    assert [row.names for row in found.rows] == [
        ("bfloat16, adapter in float32, autocast", "layer itself"),
        ("bfloat16, adapter in float32, autocast", "LoRA"),
    ]
    assert found.rows[1].cells["operations_backward"].value == 18
    assert len(found.columns) == 3
    lora = OPERATIONS[0] | {"methods": {"lora": counts((9, 18, 7), (8, 16, 6))}}
    measured["operations"] = [lora]
    found = table(measured, "operations")
    assert found.rows[0].cells["launches_decode"].value == 6 and len(found.columns) == 6


def test_a_case_names_its_regime_and_what_was_skipped_is_a_fact(measured):
    case = measured["cases"][0]
    case |= {"dtype": "bfloat16", "regime": "evaluation", "liger": True}
    measured["skipped"] = [{"case": "compiled", "reason": "no compiler"}]
    report = efficiency_report(measured)
    assert report.facts["Skipped"] == "compiled: no compiler"
    title = report.tables[0].key
    assert "bfloat16, adapter in float32, rank" in title and title.endswith(", Liger")


def test_ways_of_batching_and_their_reason(measured):
    found = {
        "prompts": 200, "batch_size": 64, "tokens": 31.4, "same_texts": 199, "reason": "",
        "loops": {"static": {"problems_per_second": 10.0, **RATIO}},
    }  # fmt: skip
    measured["evaluation"] = PARTS["evaluation"] | {"batching": found}
    made = table(measured, "batching")
    assert "the same for 199 of 200" in made.notes[1]
    found["reason"] = "its virtual tokens"
    assert table(measured, "batching").notes[1] == "No continuous batches: its virtual tokens."


def test_other_bases_of_the_loops_are_a_table_of_their_own(measured):
    own = measured["throughput"] | {"model": "llama-135m", "data": ["random tokens"]}
    measured["throughput_cases"] = [own]
    made = table(measured, "throughput_cases")
    assert made.rows[0].cells["model"].value == "llama-135m"
    assert f"LoRA on llama-135m, {own['rows']} rows of random tokens" in made.notes[0]
