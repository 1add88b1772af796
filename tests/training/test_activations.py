import pytest
import torch

from bench.data.batches import collate
from bench.errors import InputError
from bench.experiment import run
from bench.methods import attach
from bench.models.loading import load_base
from bench.training.activations import checkpointing
from bench.training.loss import target_loss


@pytest.fixture
def adapted(compose, rows):
    def build(base, name):
        method = compose(f"method={name}", "++method.r=4").method
        options = dict(method.options)
        options.pop("r") if "bottleneck_size" in options else None
        # The second pass must draw the same.
        options |= {key: 0.1 for key in ("lora_dropout", "dropout") if key in options}
        torch.manual_seed(0)
        return attach(base, method.module, options, [row.ids for row in rows(8)])

    return build


@pytest.mark.parametrize("name", ["dora", "hyplora", "series"])
def test_checkpointing_changes_no_result(adapted, train, where, rows, name):
    losses = []
    for enabled in (False, True):
        model = adapted(load_base(where, torch.device("cpu"))[0], name)
        given = {"examples": rows(8), "batch_size": 4, "epochs": 1.0, "validations": 1}
        done = train(model=model, gradient_checkpointing=enabled, **given).done
        losses.append([loss for _, loss in (*done.losses, *done.validation)])
        assert not any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
    assert len(losses[0]) == 3 and losses[0][0] != losses[0][1]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)


def saved_bytes(model, rows, enabled):
    """Bytes that a training step saves for its backward pass."""
    held = {}

    def keep(tensor):
        held[tensor.data_ptr()] = tensor.numel() * tensor.itemsize
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with checkpointing(model.train(), enabled), hooks:
        loss = target_loss(model, collate(rows, 0))
    loss.backward()
    return sum(held.values())


def test_checkpointing_saves_memory_and_does_nothing_in_evaluation(adapted, fresh_tiny, rows):
    model = adapted(fresh_tiny[0], "hyplora")
    assert saved_bytes(model, rows(8), True) < 0.7 * saved_bytes(model, rows(8), False)
    with checkpointing(model.eval(), True):
        assert model(input_ids=torch.tensor([[5, 6, 7]])).past_key_values is not None


def test_prefix_is_refused_before_a_base_is_loaded(compose):
    experiment = compose(
        "method=prefix", "train.gradient_checkpointing=true", "model=hub", "model.path=a/nowhere"
    )
    with pytest.raises(InputError, match="can't be combined with prefix_tuning"):
        run(experiment)
