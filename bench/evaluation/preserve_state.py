"""Preservation of random states and training modes around code that changes them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PYTHON_SEED, SEED = 0, 1234  # those of lm-eval's own command


@contextmanager
def preserve_state(model: Any = None) -> Iterator[None]:
    """Seed the generators of Python, numpy and torch, and restore their states afterwards.

    Args:
        model: a model whose modules' training modes are restored, too.
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
