"""A model to be pretrained from random weights: its architecture, size and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.errors import InputError, reason, unknown
from bench.models.hashes import files_hash
from bench.models.settings import check_regular
from bench.models.tiny_base import TINY_BASE
from bench.models.tokenizer import check_tokenizer

EMBEDDED = "embedded"
# Options of HelmConfig that are not offered: they are fixed or follow from others.
FIXED = {
    "kind", "vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "use_cache", "dtype",
}  # fmt: skip
TOKENIZER_FILES = ("tokenizer*", "*.model", "vocab.*", "merges.txt", "*tokens*.json")


@dataclass(frozen=True)
class UntrainedSettings:
    """An architecture.

    Attributes:
        name: its name in tables.
        kind: one of `bench.models.helm.sizes.MODELS`.
        size: one of `bench.models.helm.sizes.SIZES`.
        tokenizer: a folder with a tokenizer, or `embedded`.
        choices: further options of HelmConfig.
    """

    name: str
    kind: str
    size: str
    tokenizer: str
    choices: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the tokenizer."""
        return TINY_BASE if self.tokenizer == EMBEDDED else Path(self.tokenizer).expanduser()

    def tokenizer_hash(self, cache: Path | None = None) -> str:
        """sha256 over the files of the tokenizer; InputError if there are none."""
        if self.folder.is_dir():
            check_regular(self.folder)
        files = {p.name: p for pattern in TOKENIZER_FILES for p in self.folder.glob(pattern)}
        if not files:
            raise InputError(
                f"model.tokenizer={self.tokenizer}: not a folder with a tokenizer (as "
                f"save_pretrained writes it, e.g. that of a base), nor {EMBEDDED}"
            )
        return files_hash(files, cache)

    def load_tokenizer(self) -> Any:
        """Load the tokenizer; InputError if that fails, or it has no end-of-sequence token."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                self.folder, padding_side="left", local_files_only=True
            )
        except Exception as error:  # transformers raises anything for a broken folder
            raise InputError(
                f"model.tokenizer={self.tokenizer} can't be loaded: {reason(error)}"
            ) from error
        check_tokenizer(tokenizer, f"model.tokenizer={self.tokenizer}")
        return tokenizer

    def config(self, tokenizer: Any, **changes: Any) -> Any:
        """The configuration of transformers; `changes` replace some of `choices`.

        Raises:
            InputError: an unknown kind, size or option.
        """
        from huggingface_hub.errors import StrictDataclassError

        from bench.models.helm import HelmConfig
        from bench.models.helm.sizes import model_config

        choices = {**self.choices, **changes}
        known = {option.name for option in fields(HelmConfig)} - FIXED | {"aligned"}
        for key in choices:
            if key not in known:
                raise unknown("key in model", key, known)
        try:
            config = model_config(self.kind, self.size, vocab_size=len(tokenizer), **choices)
        except InputError:
            raise
        except (StrictDataclassError, TypeError, ValueError) as error:
            why = error.__cause__ or error
            raise InputError(f"model={self.name} size={self.size}: {why}") from error
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(config, name, getattr(tokenizer, name))
        return config


def build(config: Any, seed: int) -> Any:
    """A model with random float32 weights, fixed by a seed."""
    import torch
    from transformers import AutoModelForCausalLM, logging

    from bench.models.helm.matched import draw_like_helm, starts_like_helm

    logging.disable_progress_bar()  # saving such a model takes only a moment
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if starts_like_helm(config):
        draw_like_helm(model)
    return model
