"""Training and evaluation through torch.compile."""

from collections import Counter

import pytest
import torch
from torch._dynamo.utils import counters

from bench.errors import InputError
from bench.evaluation.generation import generate
from bench.methods import attach
from bench.methods.hyplora import VARIANTS
from bench.models.compiled import check_compiler, compile_once, compiled, why_not
from bench.models.loading import load_base
from bench.training.finetune import FineTuning
from tests.training.conftest import LORA, untrained

CPU = torch.device("cpu")
DROPOUT = {"lora_dropout": 0.2}
METHODS = {
    "lora": ("lora", LORA | DROPOUT),
    "dora": ("lora", LORA | {"use_dora": True}),
    **{variant: ("hyplora", LORA | DROPOUT | {"variant": variant}) for variant in VARIANTS},
    "bottleneck": ("bottleneck", {"bottleneck_size": 4, "target_modules": ["up_proj"]}),
    "prefix": ("prefix", {"num_virtual_tokens": 4}),
}


@pytest.fixture(autouse=True)
def counted():
    torch._dynamo.reset()
    counters.clear()


@pytest.fixture
def traced(monkeypatch):
    """Graphs are traced, forward and backward, with symbolic sizes, and run without a compiler."""
    whole = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **options: whole(self, backend="aot_eager", **options),
    )


@pytest.fixture
def compare(train, where, assert_close):
    """Train a method with and without compilation, and return the number of graphs."""

    def model(method, options, layers):
        base = load_base(where, CPU)[0]
        base.model.layers = base.model.layers[:layers]
        torch.manual_seed(0)
        return attach(base, method, options)

    def run(method, options, layers=2, **changes):
        given = {"epochs": 0.75, "validations": 1, **changes}
        eager, other = (
            train(model=model(method, options, layers), compile=on, **given) for on in (False, True)
        )
        assert_close(eager, other, tolerance=1e-4)
        assert not any(module._compiled_call_impl for module in other.model.modules())
        return counters["stats"]["unique_graphs"]

    return run


def test_one_graph_serves_steps_of_all_lengths(compare, traced):
    options = {"r": 2, "target_modules": ["q_proj"], **DROPOUT}
    graphs = compare("lora", options, layers=1, validations=0)  # in three steps
    assert graphs == 1 and not counters["graph_break"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", METHODS)
def test_all_methods_have_the_losses_of_an_eager_training(compare, traced, name):
    graphs = compare(*METHODS[name])  # one is that of the validation
    if name != "dora":
        assert graphs == 2 and not counters["graph_break"]


@pytest.mark.slow  # C++ compilers
@pytest.mark.timeout(1800)
def test_a_compiled_training_has_the_losses_of_an_eager_one(compare):
    if reason := why_not(CPU):
        pytest.skip(reason)
    assert compare("hyplora", LORA | DROPOUT | {"learnable_curvature": True}) == 2


@pytest.mark.slow
def test_compilation_goes_with_checkpointing_and_a_last_row(compare, traced, rows):
    # Micro-batches of three rows and of one, each in two parts, as the embedding is made to require
    # a gradient; and the validation.
    given = {"gradient_checkpointing": True, "micro_batch_size": 3, "batch_size": 4}
    assert compare("lora", LORA | DROPOUT, examples=rows(8), epochs=1.0, **given) == 5


@pytest.mark.slow
def test_a_compiled_training_resumes_and_its_names_are_plain(
    train, traced, furthest, killed, tmp_path
):
    whole = train(compile=True)
    with killed(FineTuning, 4):
        train(tmp_path, compile=True)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert state and not any("_orig_mod" in name for name in (*state, *whole.weights))
    assert furthest(train(tmp_path, compile=True).weights, whole.weights) == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "prefix"])
def test_compiled_generation_has_the_texts_of_an_eager_one(where, tiny, rows, traced, method):
    model = untrained(where, *METHODS[method]).eval()
    prompts = {i: row.ids for i, row in enumerate(rows(7))}

    def answers():
        made = generate(model, tiny[1], dict(prompts), 6, batch_size=4)
        return Counter(one for batch in made for one in batch)

    expected = answers()
    with compiled(model, enabled=True):
        assert answers() == expected
    assert 2 <= counters["stats"]["unique_graphs"] <= 3  # prefill, decoding, perhaps of one row
    assert not counters["graph_break"]


def test_a_machine_without_a_compiler_is_refused(monkeypatch):
    def broken(*_):
        raise RuntimeError("no compiler")

    compile_once.cache_clear()
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(InputError, match=r"train\.compile=true, but torch\.compile fails: Runtime"):
        check_compiler("train.compile", CPU)
