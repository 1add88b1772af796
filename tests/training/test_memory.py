"""Training with less memory than the micro-batch size needs."""

import pytest
import torch

from bench.errors import Failure
from bench.training.finetune import FineTuning

pytestmark = pytest.mark.usefixtures("few_objects")


@pytest.fixture
def narrow(train, rows):
    """Fine-tune in a memory that holds `fits` rows."""

    def run(fits=None, **options):
        passes = []

        def full(module, args, options):
            passes.append(len(options["input_ids"]))
            # The first pass always fits, so that memory runs out in the middle of a step.
            if fits is not None and len(passes) > 1 and passes[-1] > fits:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        defaults = {"examples": rows(28), "validation": rows(6), "epochs": 1.0}
        return train(hook=full, **defaults | {"micro_batch_size": 2} | options)

    return run


def test_a_step_that_does_not_fit_is_repeated_in_halves(narrow, assert_close, capsys):
    small, halved = narrow(dropout=0.3), narrow(fits=2, dropout=0.3, micro_batch_size=8)
    assert halved.done.micro_batch_size == small.done.micro_batch_size == 2
    assert_close(halved, small)
    printed = capsys.readouterr().out
    assert "lora: out of memory with 4 rows at once; continuing with 2" in printed
    assert printed.count("lora: out of memory") == 2  # each step after the first knows


def test_a_budget_of_tokens_is_halved(narrow, assert_close, rows, capsys):
    small, halved = narrow(dropout=0.3), narrow(fits=2, dropout=0.3, micro_tokens=10**6)
    assert_close(halved, small)
    first = 8 * max(len(row.ids) for row in rows(28))  # a step of eight rows
    assert halved.done.micro_batch_size is None and 10 <= halved.done.micro_tokens < first
    expected = f"lora: out of memory with {first} tokens at once; continuing with {first // 2}"
    assert expected in capsys.readouterr().out


def test_a_resume_by_rows_does_not_take_a_number_of_tokens(narrow, killed, tmp_path):
    options = {"fits": 2, "checkpoints": tmp_path}
    with killed(FineTuning, 2):
        narrow(**options, micro_tokens=10**6)
    assert narrow(**options, micro_batch_size=2).done.micro_batch_size == 2


@pytest.mark.parametrize("size", [{"micro_batch_size": 1}, {"micro_tokens": 9}])
def test_a_single_row_that_does_not_fit_ends_the_training_at_once(narrow, capsys, size):
    with pytest.raises(Failure, match=r"not even one row fits .* model\.dtype=bfloat16"):
        narrow(fits=0, **size)
    assert "continuing" not in capsys.readouterr().out


def test_a_resume_starts_with_the_micro_batches_that_fit(
    narrow, furthest, killed, tmp_path, capsys
):
    undisturbed = narrow(dropout=0.3).weights
    options = {"fits": 2, "dropout": 0.3, "checkpoints": tmp_path, "micro_batch_size": 4}
    with killed(FineTuning, 2):
        narrow(**options)
    capsys.readouterr()
    resumed = narrow(**options)
    assert resumed.done.micro_batch_size == 2 and furthest(resumed.weights, undisturbed) == 0
    assert "lora: out of memory" not in capsys.readouterr().out
