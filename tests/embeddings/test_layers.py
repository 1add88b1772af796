import copy
import weakref

import peft
import pytest
import torch

from bench.embeddings.layers import CURVATURES, layer_inputs
from bench.methods import BottleneckConfig, HypLoraConfig, attach, gate_statistics
from tests.methods.layer_inputs import inputs_of

SENTENCES = [
    "Mary has 7 books. Tom gives Mary 2 more. How many books does Mary have now?",
    "There are 4 baskets with 6 apples each. How many apples are there?",
    "Ann had 30 marbles and lost 12 of them. How many marbles does she have?",
]
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS = ["q_proj", "down_proj"]


@pytest.fixture(scope="module")
def prompts(tiny):
    return [tiny[1](sentence)["input_ids"] for sentence in SENTENCES]


@pytest.fixture(scope="module")
def measured(tiny, prompts):
    return layer_inputs(tiny[0], prompts)


@pytest.fixture
def base(tiny):
    return copy.deepcopy(tiny[0])


def test_every_linear_layer_of_the_blocks_has_the_rms_of_all_tokens(tiny, prompts, measured):
    names = [(one["block"], one["module"]) for one in measured]
    assert names == [(block, module) for block in range(4) for module in MODULES]
    assert measured[0]["layer"] == "model.layers.0.self_attn.q_proj"
    name = "model.layers.2.mlp.down_proj"
    (one,) = (one for one in measured if one["layer"] == name)
    x = torch.cat(inputs_of(tiny[0], name, prompts)).double()
    rms = x.square().mean(-1).sqrt()
    assert one["tokens"] == sum(map(len, prompts)) == len(rms)
    assert one["rms_mean"] == pytest.approx(rms.mean().item(), rel=1e-6)
    assert one["rms_median"] == pytest.approx(rms.median().item(), rel=1e-6)
    assert one["rms_sd"] == pytest.approx(rms.std(correction=0).item(), rel=1e-5)
    assert one["rms_variation"] == pytest.approx(one["rms_sd"] / one["rms_mean"])
    assert one["rms_largest"] == pytest.approx(rms.max().item(), rel=1e-6)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_gates_are_those_that_a_new_adapter_has(base, prompts, measured, curvature):
    config = HypLoraConfig(r=4, target_modules=TARGETS, curvature=curvature)
    adapted = peft.get_peft_model(base, config)
    gates = {one.layer: one for one in gate_statistics(adapted, prompts)}
    assert len(gates) == 8
    for one in (one for one in measured if one["layer"] in gates):
        (found,) = (gate for gate in one["gates"] if gate["curvature"] == curvature)
        assert found["mean"] == pytest.approx(gates[one["layer"]].mean, rel=1e-5)
        assert found["variation"] == pytest.approx(
            gates[one["layer"]].variation, rel=1e-4, abs=1e-7
        )


def test_the_curvature_from_data_is_what_auto_gives_a_layer(base, prompts, measured):
    options = {"r": 4, "target_modules": TARGETS, "curvature": "auto"}
    auto = {
        one["layer"]: one
        for one in layer_inputs(attach(base, "hyplora", options, prompts), prompts)
    }
    adapted = [one for one in measured if one["module"] in TARGETS]
    assert len(adapted) == 8
    for one in measured:
        found = auto[one["layer"]]["adapter_curvature"]
        if one in adapted:
            assert found == pytest.approx(one["data_curvature"], rel=1e-5)
            assert one["data_curvature"] == pytest.approx((one["delta"] / 0.144) ** 2)
        else:
            assert found is None
        assert one["adapter_curvature"] is None


@pytest.mark.parametrize(
    "config",
    [
        HypLoraConfig(r=4, target_modules=TARGETS),
        peft.LoraConfig(r=4, target_modules=TARGETS, use_dora=True),
        BottleneckConfig(target_modules=TARGETS, bottleneck_size=4, placement="series"),
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    ],
    ids=lambda config: type(config).__name__,
)
def test_layers_keep_their_names_and_are_seen_through_any_adapter(base, prompts, measured, config):
    model = peft.get_peft_model(base, config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    tuned = layer_inputs(model, prompts)
    assert [one["layer"] for one in tuned] == [one["layer"] for one in measured]
    assert {one["tokens"] for one in tuned} == {one["tokens"] for one in measured}
    # Adapters affect all later layers, but not the first one, which reads the embeddings.
    assert tuned[-1]["rms_mean"] != pytest.approx(measured[-1]["rms_mean"], rel=1e-4)
    assert tuned[0]["rms_mean"] == pytest.approx(measured[0]["rms_mean"], rel=1e-6)


def test_each_prompt_is_reported_and_no_input_outlives_it(base, prompts):
    references, most = [], []
    for layer in base.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_pre_hook(lambda _, x: references.append(weakref.ref(x[0])))

    def count(_):
        most.append(sum(reference() is not None for reference in references))

    layer_inputs(base, prompts, progress=count)
    # At most one, with which the next is compared.
    assert len(references) == 29 * len(prompts) and len(most) == len(prompts) and max(most) <= 1


def test_a_prompt_of_three_tokens_has_norms_but_no_delta(tiny):
    found = layer_inputs(tiny[0], [[1, 5, 6]])
    assert {(one["delta"], one["data_curvature"]) for one in found} == {(None, None)}
    assert all(one["tokens"] == 3 and one["rms_mean"] > 0 for one in found)
