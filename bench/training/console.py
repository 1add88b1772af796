"""Keeping Lightning's asides off the screen."""

from __future__ import annotations

import logging
import warnings

ASIDES = (
    ".*does not have many workers.*",
    ".*treespec.*",
    ".*Checkpoint directory .* exists.*",
    ".*your dataloader is not resumable.*",  # ours starts at the right step
    ".*max_epochs. was not set.*",
    ".*in eval mode at the start of training.*",
)


def quiet_lightning() -> None:
    """Keep notes on hardware, hints on workers and others' deprecations off the screen."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in ASIDES:
        warnings.filterwarnings("ignore", message=message)
