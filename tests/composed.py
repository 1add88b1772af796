"""Configurations as the command line composes them."""

from __future__ import annotations

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench.config import PROJECT


def composed(*words: str) -> dict[str, Any]:
    """The resolved configuration of these overrides, as plain containers."""
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose("config", list(words)), resolve=True)
    return plain
