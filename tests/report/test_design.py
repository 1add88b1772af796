"""Rows, labels and comparisons of a table, from the settings of its runs."""

from dataclasses import replace

import pytest

from bench.report.design import VS_LORA, VS_MATCHED, VS_TWIN, sweep_records
from bench.report.records import row_key
from bench.report.spec import PretrainingSpec, TableSpec
from tests.report.many_runs import LAYERS, run_of
from tests.report.pretraining_runs import made

LAYERED = TableSpec(
    "layers", "Layers", apart={"target_modules": {"down_proj alone": ["down_proj"]}}
)


def design(runs, spec):
    (found,) = sweep_records(runs, spec)
    return found


def pairs(found):
    labels = {row.key: row.label for row in found.rows}
    return [(c.heading, labels[c.row], labels[c.reference]) for c in found.contrasts]


def test_like_is_compared_with_like():
    down = {"options": {"target_modules": ["down_proj"]}}
    rows = [("hyplora", 1.0), ("hyplora", 2.0), ("lora", None), ("lora_matched", 1.0)]
    runs = [run_of("none"), *(run_of(m, 0, K, **extra) for m, K in rows for extra in ({}, down))]
    assert pairs(design(runs, LAYERED)) == [
        (VS_LORA, "LoRA (matched)", "LoRA"),
        (VS_LORA, "LoRA (matched, down_proj alone)", "LoRA (down_proj alone)"),
        (VS_LORA, "HypLoRA (K=1.0)", "LoRA"),
        (VS_LORA, "HypLoRA (K=1.0, down_proj alone)", "LoRA (down_proj alone)"),
        (VS_LORA, "HypLoRA (K=2.0)", "LoRA"),
        (VS_LORA, "HypLoRA (K=2.0, down_proj alone)", "LoRA (down_proj alone)"),
        (VS_MATCHED, "HypLoRA (K=1.0)", "LoRA (matched)"),
        (VS_MATCHED, "HypLoRA (K=1.0, down_proj alone)", "LoRA (matched, down_proj alone)"),
    ]


def test_a_comparison_can_be_about_an_option():
    layers = ({}, {"target_modules": ["down_proj"]})
    runs = [
        run_of(method, 0, options={**chosen, "r": r})
        for method in ("lora", "dora")
        for chosen in layers
        for r in (4, 8)
    ]
    declared = {"row": "dora", "reference": "dora", "option": "down_proj alone", "about": "layers"}
    assert pairs(design(runs, replace(LAYERED, comparisons=(declared,)))) == [
        ("layers", "DoRA (down_proj alone, r 4)", "DoRA (r 4)"),
        ("layers", "DoRA (down_proj alone, r 8)", "DoRA (r 8)"),
    ]


@pytest.mark.parametrize("declared", [(), ({"row": "dora", "reference": "lora"},)])
def test_the_reference_has_the_same_training_settings(declared):
    runs = [run_of(m, 0, train={"epochs": e}) for m in ("lora", "dora") for e in (1, 3)]
    found = design(runs, TableSpec("own", "Own", comparisons=declared))
    assert [pair[1:] for pair in pairs(found)] == [
        ("DoRA (epochs 1)", "LoRA (epochs 1)"),
        ("DoRA (epochs 3)", "LoRA (epochs 3)"),
    ]


def test_declared_comparisons_are_made_in_each_set_of_options_and_for_each_curvature():
    down = {"options": {"target_modules": ["down_proj"]}}
    rows = [("hyplora", 1.0), ("hyplora", 2.0), ("lora", None), ("lora_matched", 2.0)]
    runs = [run_of(m, 0, K, **extra) for m, K in rows for extra in ({}, down)]
    declared = (
        {"row": "hyplora", "reference": "lora_matched", "about": "scale"},
        {"row": "lora", "reference": "hyplora"},
        {"row": "dora", "reference": "lora"},
    )
    assert pairs(design(runs, replace(LAYERED, comparisons=declared))) == [
        ("scale", "HypLoRA (K=2.0)", "LoRA (matched)"),
        ("scale", "HypLoRA (K=2.0, down_proj alone)", "LoRA (matched, down_proj alone)"),
        ("", "LoRA", "HypLoRA (K=1.0)"),
        ("", "LoRA", "HypLoRA (K=2.0)"),
        ("", "LoRA (down_proj alone)", "HypLoRA (K=1.0, down_proj alone)"),
        ("", "LoRA (down_proj alone)", "HypLoRA (K=2.0, down_proj alone)"),
    ]


def test_settings_that_no_spec_names_distinguish_rows_of_one_name():
    runs = [run_of("lora", 0, options={"r": r}, train={"lr": lr}) for r in (8, 4) for lr in (1, 2)]
    found = design([*runs, run_of("dora", 0, options={"r": 8})], TableSpec("own", "Own"))
    assert [row.label for row in found.rows] == [
        *(f"LoRA (lr {lr}, r {r})" for lr in (1, 2) for r in (4, 8)), "DoRA",
    ]  # fmt: skip
    assert [row.options["r"] for row in found.rows] == [4, 8, 4, 8, 8]
    assert pairs(found) == [(VS_LORA, "DoRA", "LoRA (lr 2, r 8)")]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"train": {"micro_batch_size": 2, "devices": 4}}, True),
        ({"protocol": "paper"}, True),  # the question's, not the row's
        ({"train": {"epochs": 1.0}}, False),
        ({"options": {"target_modules": LAYERS[:1]}}, False),
    ],
)
def test_a_row_has_all_settings_that_change_a_result_but_the_seed(changes, same):
    assert (row_key(run_of("lora", 0)) == row_key(run_of("lora", 1, **changes))) is same


def test_a_whole_number_and_its_float_are_one_curvature():
    assert row_key(run_of("hyplora", 0, 1)) == row_key(run_of("hyplora", 1, 1.0))


def test_a_pretrained_model_is_compared_with_the_twin_of_its_settings():
    def rated(model, lr, warmup=0.03, **choices):
        run = made(model, bits=lr, choices=choices)
        return run | {"train": run["train"] | {"lr": lr, "warmup": warmup}}

    spec = PretrainingSpec("helm", "Bits")
    own_rates = [rated("helm_d", 8e-3, curvature=1), rated("llama_twin", 2e-3, warmup=0.2)]
    assert pairs(design(own_rates, spec)) == [(VS_TWIN, "HELM-D", "LLaMA")]
    both = [rated(m, lr) for m in ("llama_twin", "helm_d") for lr in (8e-3, 2e-3)]
    assert pairs(design(both, spec)) == [
        (VS_TWIN, "HELM-D (lr=0.008)", "LLaMA (lr=0.008)"),
        (VS_TWIN, "HELM-D (lr=0.002)", "LLaMA (lr=0.002)"),
    ]
    assert pairs(design([*own_rates, rated("llama_twin", 4e-3)], spec)) == []
    assert pairs(design([*own_rates, rated("llama_twin_matched", 4e-3)], spec)) == [
        (VS_TWIN, "HELM-D", "LLaMA"),
        (VS_TWIN, "HELM-D", "LLaMA (matched)"),
    ]


def test_runs_on_validation_documents_are_in_no_table_of_test_documents():
    chosen = made("helm_d") | {"split": "validation"}
    assert len(sweep_records([made("helm_d"), chosen], PretrainingSpec("helm", "Bits"))) == 2
