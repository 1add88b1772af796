import dataclasses
import json

import pytest
import torch

from bench.efficiency.cases import (
    CASES,
    CONTROL,
    Case,
    build,
    compile_calls,
    options_of,
    workloads_of,
)
from bench.efficiency.measure import ALL, ON_A_LAYER, WHY_NOT, EfficiencySettings, check, measure
from bench.errors import InputError

CPU, F32 = torch.device("cpu"), torch.float32
LAYER = Case("layer", layer=32, rank=4, lengths=(8,))
MODEL = Case(
    "block",
    config={
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 64,
    },
    rank=4,
    lengths=(12,),
    decode=(1, 2),
    vocabulary=64,
)


@pytest.fixture(scope="module")
def models():
    return build(MODEL, ALL, F32, CPU)


def test_all_methods_share_the_weights_of_one_base(models):
    first = {
        name: next(p for n, p in model.named_parameters() if n.endswith("embed_tokens.weight"))
        for name, model in models.items()
    }
    assert len({p.data_ptr() for p in first.values()}) == 1


def test_the_control_is_lora_and_each_other_method_is_its_own(models):
    prompt = torch.arange(4, 12)[None]
    with torch.no_grad():
        logits = {name: m.eval()(input_ids=prompt).logits[:, -1] for name, m in models.items()}
    assert torch.equal(logits["lora"], logits[CONTROL])
    names = [name for name in logits if name != CONTROL]
    for i, one in enumerate(names):
        assert not any(torch.allclose(logits[one], logits[other]) for other in names[i + 1 :]), one


@pytest.mark.parametrize("name", ["lora", "hyplora", "prefix"])
def test_decoding_gives_what_the_whole_sequence_gives(models, name):
    model = models[name].eval()
    workload = workloads_of(MODEL, model, F32, CPU)["decode 2"]()
    ids = torch.randint(3, 64, (2, 12), generator=torch.Generator().manual_seed(2))
    whole = torch.cat([ids, ids[:, -1:]], dim=1)
    with torch.no_grad():
        expected = model(input_ids=whole).logits[:, -1:]
    workload()  # restores the cache
    assert torch.allclose(workload(), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["lora", "prefix"])
def test_decoding_is_compiled_with_its_adapter(name):
    model, graphs = build(MODEL, (name,), F32, CPU)[name], []
    compile_calls(model, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    workload = workloads_of(MODEL, model, F32, CPU)["decode 2"]()
    graphs.clear()
    workload()
    names = {node.name for graph in graphs for node in graph.graph.nodes}
    assert graphs and any("lora_a" in each for each in names) == (name == "lora")


def test_models_do_not_share_the_limit_of_compiled_graphs():
    graphs = []
    with torch._dynamo.config.patch(recompile_limit=1):
        for model in build(MODEL, ("lora", "hyplora"), F32, CPU).values():
            before = len(graphs)
            compile_calls(model, backend=lambda graph, _: graphs.append(graph) or graph.forward)
            workloads_of(MODEL, model, F32, CPU)["prefill 12"]()()
            assert len(graphs) > before


def test_a_step_changes_the_adapter_alone(models):
    model = models["hyplora"]
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    workloads_of(MODEL, model, F32, CPU)["step 12"]()()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed and all("hyplora_" in name for name in changed)


def test_hyplora_layers_are_checked_against_their_definitions():
    assert (
        options_of("hyplora", 8)[1].items() >= {"r": 8, "lora_alpha": 16, "curvature": 1.0}.items()
    )
    for name, model in build(LAYER, ON_A_LAYER, F32, CPU).items():
        error = check(name, model)
        assert error < 1e-5 if name.startswith("hyplora") else error is None


def test_a_layer_that_deviates_from_its_definition_is_not_timed(monkeypatch):
    model = build(LAYER, ("hyplora",), F32, CPU)["hyplora"]
    forward = type(model.base_model.model.linear).forward
    monkeypatch.setattr(
        type(model.base_model.model.linear), "forward", lambda *args: 1.001 * forward(*args)
    )
    with pytest.raises(RuntimeError, match=r"hyplora: a layer differs .* by 1\.0e-03"):
        check("hyplora", model)


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize(
    ("dtype", "methods", "measured", "regimes"),
    [
        ("float32", [], ON_A_LAYER, ["uniform"]),
        ("bfloat16", ["hyplora"], ("lora", "hyplora"), ["uniform", "evaluation", "training"]),
    ],
)
def test_a_measurement_has_every_method_relative_to_lora(
    monkeypatch, dtype, methods, measured, regimes
):
    monkeypatch.setitem(CASES, "layer", LAYER)
    settings = EfficiencySettings(["layer"], [dtype], methods, liger=True, rounds=2, seconds=1e-4)
    report = json.loads(json.dumps(measure(settings)))
    assert [(case["dtype"], case["regime"]) for case in report["cases"]] == [
        (dtype, regime) for regime in regimes
    ]
    assert report["skipped"] == [{"case": "liger", "reason": WHY_NOT["liger"](CPU)}]
    assert [(one["dtype"], one["regime"]) for one in report["operations"]] == [
        (dtype, regime) for regime in regimes
    ]
    counted = {"none", *measured} - {CONTROL}
    assert all(set(one["methods"]) == counted for one in report["operations"])
    for case in report["cases"]:
        assert list(case["parameters"]) == list(measured)
        for times in case["works"].values():
            assert times["lora"]["ratio"] == 1.0 and set(times) == set(measured)
            assert all(0 < t["low"] <= t["median"] <= t["high"] for t in times.values())
            assert {t["peak_bytes"] for t in times.values()} == {None}  # on a CPU
    assert report["versions"]["torch"] == torch.__version__


@pytest.mark.usefixtures("few_objects")
def test_a_dtype_that_the_processor_emulates_is_skipped_next_to_others(monkeypatch):
    monkeypatch.setitem(CASES, "layer", LAYER)
    monkeypatch.setattr(
        "bench.efficiency.measure.product_ratio", lambda dtype, _: 50.0 * (dtype != F32)
    )
    settings = [["layer"], ["float32", "bfloat16"], ["lora"]]
    report = measure(EfficiencySettings(*settings, rounds=1, seconds=1e-4))
    assert [case["dtype"] for case in report["cases"]] == ["float32"]
    (skipped,) = report["skipped"]
    assert skipped["case"] == "bfloat16" and "takes 50 times" in skipped["reason"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases": ["tinny"]}, "unknown efficiency case 'tinny'. Did you mean tiny"),
        ({"dtypes": ["float16"]}, "unknown efficiency dtype"),
        ({"methods": ["hyplor"]}, "unknown efficiency method"),
        ({"regimes": ["trainin"]}, "Did you mean training"),
        ({"rounds": 0}, "must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    settings = EfficiencySettings(["tiny"], ["float32"], [])
    with pytest.raises(InputError, match=message):
        dataclasses.replace(settings, **changes)
