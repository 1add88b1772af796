"""A base that is still to be pretrained: its architecture, its size, and what it reads with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.errors import InputError, unknown
from bench.models.settings import files_hash
from bench.models.tiny_base import TINY_BASE

EMBEDDED = "embedded"
# What follows from elsewhere, or is no choice.
NOT_CHOSEN = ("kind", "vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "use_cache")
# What makes a tokenizer, of what lies in a base's folder.
TOKENIZER_FILES = ("tokenizer*", "*.model", "vocab.*", "merges.txt", "*tokens*.json")


@dataclass(frozen=True)
class UntrainedSettings:
    """An architecture.

    Attributes:
        name: what tables call it.
        kind: of bench.models.helm.sizes.
        size: one of the kind's.
        tokenizer: a folder that has one, or `embedded`.
        choices: what else the architecture takes.
    """

    name: str
    kind: str
    size: str
    tokenizer: str
    choices: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the tokenizer is."""
        if self.tokenizer == EMBEDDED:
            return TINY_BASE
        return Path(self.tokenizer).expanduser()

    def tokenizer_hash(self, cache: Path | None = None) -> str:
        """sha256 over what the tokenizer is.

        Raises:
            InputError: there is none.
        """
        files = {p.name: p for pattern in TOKENIZER_FILES for p in self.folder.glob(pattern)}
        if not files:
            raise InputError(
                f"model.tokenizer={self.tokenizer}: no folder with a tokenizer (one that "
                f"save_pretrained wrote, such as a base's), nor {EMBEDDED}"
            )
        return files_hash(files, cache)

    def load_tokenizer(self) -> Any:
        """The tokenizer.

        Raises:
            InputError: it can't be loaded, or knows no end of a text.
        """
        from transformers import AutoTokenizer

        try:
            found = AutoTokenizer.from_pretrained(
                self.folder, padding_side="left", local_files_only=True
            )
        except Exception as error:  # what is wrong in a folder makes transformers raise anything
            raise InputError(
                f"model.tokenizer={self.tokenizer} can't be loaded: "
                f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            ) from error
        if found.eos_token_id is None:
            raise InputError(f"model.tokenizer={self.tokenizer} has no end-of-sequence token")
        if found.pad_token_id is None:
            found.pad_token = found.eos_token
        return found

    def config(self, tokenizer: Any, **changes: Any) -> Any:
        """The configuration of transformers.

        Args:
            tokenizer: whose entries it has embeddings for.
            changes: other choices, in place of some.

        Raises:
            InputError: a kind, a size or a choice that there is not.
        """
        from huggingface_hub.errors import StrictDataclassError

        from bench.models.helm import HelmConfig
        from bench.models.helm.sizes import model_config

        choices = {**self.choices, **changes}
        allowed = {option.name for option in fields(HelmConfig)} | {"aligned"}
        for key in choices:
            if key not in allowed:
                raise unknown("key in model", key, allowed - set(NOT_CHOSEN))
        try:
            config = model_config(self.kind, self.size, vocab_size=len(tokenizer), **choices)
        except InputError:
            raise
        except (StrictDataclassError, TypeError, ValueError) as error:
            told = str(error.__cause__ or error)
            raise InputError(f"model={self.name} size={self.size}: {told}") from error
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(config, name, getattr(tokenizer, name))
        return config


def build(config: Any, seed: int) -> Any:
    """A model of a configuration with random float32 weights that a seed fixes."""
    import torch
    from transformers import AutoModelForCausalLM, logging

    logging.disable_progress_bar()  # of the writing of files, which takes a moment
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
