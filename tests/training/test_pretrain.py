import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data.tokens import encoded
from bench.errors import InputError
from bench.training.pretrain import Pretraining, pretrain
from bench.training.settings import PretrainSettings
from tests.helpers import random_model

SETTINGS = PretrainSettings(
    steps=6,
    step_tokens=96,
    row_tokens=16,
    micro_rows=6,
    devices=1,
    sharded=False,
    lr=3e-3,
    lr_floor=0.1,
    warmup=0.2,
    weight_decay=0.1,
    gradient_clip=1.0,
    precision="32-true",
    validation=0.3,
    test=0.2,
    evaluations=3,
    checkpoint_minutes=1e-9,
)
CHOICES = {"hidden_size": 32, "intermediate_size": 64}


@pytest.fixture(scope="module")
def text(tiny, tmp_path_factory):
    texts = [f"{a}+{b}={a + b}. Mia has {a} apples." for a in range(4) for b in range(5)]
    return encoded(texts, tiny[1], SETTINGS.shares, tmp_path_factory.mktemp("tokens") / "x")


@pytest.fixture
def make(tiny):
    def made(kind="helm_mice", seed=0, **choices):
        if kind == "helm_d of points":
            kind, choices = "helm_d", {"embedding": "lorentz"}
        return random_model(kind, tiny[1], seed, **CHOICES | choices)

    return made


def distance(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return float(torch.stack([(a - b).abs().max().float() for a, b in pairs]).max())


class Products(TorchDispatchMode):
    """Collects the dtypes of matrix products with one of the given weights."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes, self.dtypes = sizes, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "mm" in func.__name__:
            operands = [a for a in args if isinstance(a, torch.Tensor)]
            self.dtypes |= {a.dtype for a in operands if a.shape[-2:] in self.sizes}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["helm_mice", "deepseek_twin"])
def test_experts_are_computed_in_the_dtype_of_autocast(kind, text, make):
    model = make(kind, moe_intermediate_size=24)
    weights = [p for name, p in model.named_parameters() if ".experts." in name and p.ndim == 3]
    sizes = {p.shape[1:] for p in weights} | {p.mT.shape[1:] for p in weights}
    mixed = dataclasses.replace(SETTINGS, precision="bf16-mixed", steps=1, evaluations=1)
    with Products(sizes) as products:
        pretrain(model, text, mixed, 0, None)
    assert products.dtypes == {torch.bfloat16}


@pytest.mark.parametrize("kind", ["helm_mice", "deepseek_twin", "helm_d of points"])
def test_a_killed_pretraining_resumes_exactly(kind, text, make, killed, steps_taken, tmp_path):
    whole, resumed = make(kind), make(kind, seed=1)
    undisturbed = pretrain(whole, text, SETTINGS, 0, tmp_path / "whole.ckpt")
    with killed(Pretraining, 4):
        pretrain(make(kind), text, SETTINGS, 0, tmp_path / "last.ckpt")
    taken = steps_taken(Pretraining)
    done = pretrain(resumed, text, SETTINGS, 0, tmp_path / "last.ckpt")
    # A finished training is taken from its state.
    again = make(kind, seed=1)
    pretrain(again, text, SETTINGS, 0, tmp_path / "last.ckpt")
    assert taken == [4, 5]
    assert distance(whole, resumed) == distance(whole, again) == 0
    for name in ("order", "losses", "validation", "curvatures", "targets"):
        assert getattr(done, name) == getattr(undisturbed, name), name
    assert done.packer.place == undisturbed.packer.place
    assert [at for at, _ in done.validation] == [2, 4, 6]


def test_a_step_is_the_same_however_it_is_split(text, make):
    losses = []
    for rows in (6, 4, 1):
        settings = dataclasses.replace(SETTINGS, micro_rows=rows, steps=3)
        losses.append([loss for _, loss in pretrain(make("llama_twin"), text, settings, 0).losses])
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], abs=1e-5)


def test_a_pass_that_runs_out_of_memory_is_no_load_of_the_experts(text, make):
    biases = []
    for rows in (2, 3):
        model = make("helm_mice")

        def full(module, args, options, output):
            if len(options["input_ids"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        model.register_forward_hook(full, with_kwargs=True)
        pretrain(model, text, dataclasses.replace(SETTINGS, steps=1, micro_rows=rows), 0)
        biases.append(model.model.layers[1].mlp.gate.e_score_correction_bias)
    assert biases[0].any() and torch.equal(*biases)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("kind", ["helm_mice", "deepseek_twin", "helm_d of points"])
def test_two_ranks_learn_what_one_process_learns(kind, sharded, text, make, killed, tmp_path):
    # Equal parts, since the balance loss is of what goes through the model together.
    settings = dataclasses.replace(SETTINGS, micro_rows=3)
    alone, shared, state = make(kind), make(kind), tmp_path / "last.ckpt"
    one = pretrain(alone, text, settings, 0)
    if sharded:  # resumes from the state of one process
        with killed(Pretraining, 2):
            pretrain(make(kind), text, settings, 0, state)
    two = dataclasses.replace(settings, devices=2, sharded=sharded)
    two = pretrain(shared, text, two, 0, state)
    assert (two.order, two.targets) == (one.order, one.targets)
    for name in ("losses", "validation"):
        assert dict(getattr(two, name)) == pytest.approx(dict(getattr(one, name)), rel=1e-5)
    assert distance(alone, shared) < 1e-5


def test_tokens_are_pickled_by_the_paths_of_their_files(text):
    given = pickle.dumps(text)
    assert len(given) < 500
    assert np.array_equal(pickle.loads(given).ids, text.ids)


def test_training_lowers_the_bits_per_byte_and_twins_read_the_same_tokens(text, make):
    long = dataclasses.replace(SETTINGS, steps=30)
    one, twin = (pretrain(make(kind), text, long, 0) for kind in ("helm_d", "llama_twin"))
    for done in (one, twin):
        assert done.validation[-1][1] < 0.8 * done.validation[0][1]
    assert one.order == twin.order and one.targets == twin.targets
    short = dataclasses.replace(SETTINGS, steps=1)
    orders = [pretrain(make("llama_twin"), text, short, seed).order for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_only_documents_for_training_are_trained_on_and_only_matrices_decay(text, make):
    module = Pretraining(text, SETTINGS, 0, "test", make("helm_mice"))
    assert np.array_equal(module.packer.documents, text.parts["train"])
    groups = module.configure_optimizers()[0][0].param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    named = {name: decays[id(p)] for name, p in module.model.named_parameters()}
    for part in ("norm", "log_curvature", "log_gain", "residual", "_time", "bias", "tau"):
        assert not any(decay for name, decay in named.items() if part in name), part
    assert named["model.layers.1.mlp.experts.down_proj"] == 0.1
    assert named["model.embed_tokens.weight"] == 0.1


def test_a_table_of_points_stays_on_its_hyperboloid(text, make):
    model = make("helm_d of points")
    before = model.get_input_embeddings().weight.detach().clone()
    done = pretrain(model, text, SETTINGS, 0)
    after = model.get_input_embeddings().weight.detach()
    moved = (after - before).abs().sum(-1) > 0
    assert moved.any() and done.global_step == 6
    time, space = after[:, 0], after[:, 1:]
    assert torch.allclose(time.square() - space.square().sum(-1), torch.ones(()), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_tokens": 100}, "multiple of action.row_tokens=16"),
        ({"validation": 0.0}, "their sum below 1, got 0 and 0.2"),
        ({"test": 0.7}, "their sum below 1, got 0.3 and 0.7"),
        ({"steps": 0}, "action.steps must be at least 1"),
        ({"row_tokens": 1}, "at least 2"),
        ({"precision": "bf16"}, "unknown action.precision 'bf16'.*bf16-mixed"),
        ({"warmup": 3}, "a share"),
        ({"sharded": True}, r"also give action\.devices"),
        ({"devices": 4}, r"action\.devices=4 can't share the 6 rows"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SETTINGS, **changes)
