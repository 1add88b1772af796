"""A guest's work on a model, after which the model and the generators are as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What lm-eval's own command seeds them with, so that its tasks draw the same here.
PYTHON_SEED, SEED = 0, 1234


@contextmanager
def left_as_found(model: Any = None) -> Iterator[None]:
    """Seed the generators of Python, numpy and torch, and put back what the block changes.

    Put back are those generators and each module's training mode: nothing that comes after
    depends on whether the block was there.

    Args:
        model: that the block works on, where it works on one.
    """
    import numpy as np
    import torch

    modes = [(module, module.training) for module in model.modules()] if model else []
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(PYTHON_SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            for module, training in modes:
                module.training = training
