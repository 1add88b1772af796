"""Masks of dropout that do not depend on how a step is split."""

import pytest
import torch
from torch import nn

from bench.training.dropout import Draws, RowDropout, row_dropout
from tests.training.conftest import LORA, untrained

METHODS = {
    "lora": LORA | {"lora_dropout": 0.2},
    "dora": LORA | {"lora_dropout": 0.2},
    "hyplora": LORA | {"lora_dropout": 0.2},
    "bottleneck": {"bottleneck_size": 4, "dropout": 0.2, "target_modules": ["up_proj"]},
}
CPU = torch.device("cpu")


@pytest.mark.parametrize("method", METHODS)
def test_the_split_of_a_step_changes_no_result(method, where, train, assert_close):
    module, more = ("lora", {"use_dora": True}) if method == "dora" else (method, {})
    split = {}
    for size in (8, 3):  # rows of other lengths share a micro-batch
        model = untrained(where, module, METHODS[method] | more)
        split[size] = train(model=model, micro_batch_size=size, epochs=0.75)
        assert any(type(m) is nn.Dropout for m in model.modules())  # as before the training
        assert not any(type(m) is RowDropout for m in model.modules())
    assert_close(split[8], split[3])


def masks(shape, step=0, rows=None, seed=0, name="layer", p=0.25):
    draws, rows = Draws(), range(shape[0]) if rows is None else rows
    draws.used = True
    draws.choose(seed, step, rows, CPU)
    return RowDropout(p, name, draws)(torch.ones(shape))


def test_a_mask_depends_on_seed_step_row_and_layer_alone():
    whole = masks((4, 7, 64))
    assert torch.equal(masks((2, 5, 64), rows=[3, 1]), whole[[3, 1], :5])  # other padding
    assert torch.equal(masks((28, 64), rows=range(4)), whole.flatten(0, 1))
    others = (masks((4, 7, 64), step=1), masks((4, 7, 64), seed=1), masks((4, 7, 64), name="other"))
    for other in (*others, masks((4, 7, 64), rows=[4, 5, 6, 7])):
        assert (other == whole).float().mean() == pytest.approx(0.75**2 + 0.25**2, abs=0.05)
    assert masks((2, 3, 4, 5)).shape == (2, 3, 4, 5)


def test_elements_are_dropped_independently_and_the_others_scaled():
    found = masks((64, 32, 256))
    assert found.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    dropped = (found == 0).double()
    assert dropped.mean() == pytest.approx(0.25, abs=2e-3)
    for axis in range(3):  # neighbours of a row, a token or a feature
        both = dropped * dropped.roll(1, axis)
        assert both.mean() == pytest.approx(0.0625, abs=2e-3)
        shares = dropped.mean([other for other in range(3) if other != axis])
        expected = (0.1875 * len(shares) / dropped.numel()) ** 0.5
        assert shares.std() == pytest.approx(expected, rel=0.3)


def test_without_dropout_nothing_is_replaced_or_drawn(where):
    model, draws = untrained(where), Draws()
    with row_dropout(model, draws):
        draws.choose(0, 0, range(4), CPU)
        assert not draws.used and not hasattr(draws, "keys")
