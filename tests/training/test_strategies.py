"""How ranks share a step, in a group of one rank."""

from unittest.mock import patch

import pytest
import torch

from bench.training.strategies import ManualDDP


@pytest.fixture
def group(tmp_path):
    meeting = f"file://{tmp_path / 'meeting'}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_step_is_reduced_without_waiting_for_the_device(group):
    loss, *parameters = (torch.nn.Parameter(torch.ones(size)) for size in (2, 3, 4))
    frozen = torch.nn.Parameter(torch.ones(5), requires_grad=False)
    parameters[0].grad = torch.arange(3.0)
    # On a GPU a barrier, as in Lightning's own reduction, waits for all that was begun.
    with patch("torch.distributed.barrier", side_effect=AssertionError):
        ManualDDP().reduce_step([*parameters, frozen], loss.detach().sum())
    assert parameters[0].grad.tolist() == [0, 1, 2] and parameters[1].grad.tolist() == [0] * 4
    assert frozen.grad is None
