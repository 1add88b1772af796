"""Functions that tests of several packages use."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode

from bench.config import PROJECT
from bench.models.settings import ModelSettings
from bench.run import main


@cache
def planner() -> Any:
    """A planner of sweeps, which composes as Hydra does and reads each file of conf/ once."""
    from bench.sweep.jobs import Planner

    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        command = loader.load_configuration("config", [], RunMode.MULTIRUN)
    return Planner(HydraContext(loader, callbacks=None), command, 0.0)


def composed(*words: str) -> dict[str, Any]:
    """The resolved configuration of these overrides, as plain containers."""
    return planner().compose(words)


class Result(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


def inline(*arguments: str, results: Path | str) -> Result:
    """`python bench/run.py ARGUMENTS` in this process, with its results in a folder."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["bench/run.py", *arguments, f"tracking.folder={results}"])
        for name in ("HYPLORA_BENCH_BEGAN", "HYPLORA_BENCH_JOBS", "HYDRA_FULL_ERROR"):
            patch.setenv(name, "")  # main sets them, the context restores them
        code = main()
    return Result(code, out.getvalue(), errors.getvalue())


def refused(done: Result, message: str, code: int = 2, results: Path | None = None) -> None:
    """Check that a command ended with one message, and without a run in a results folder."""
    assert done.code == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr + done.stdout
    assert done.stderr.count("error: ") == 1 and "\x1b" not in done.stderr
    assert results is None or not list((results / "runs").glob("*"))


def interrupted(*_: Any, **__: Any) -> None:
    """Takes the place of a function in which a command is interrupted."""
    raise KeyboardInterrupt


def model_at(path: object, dtype: str = "float32", **options: Any) -> ModelSettings:
    """The settings of a base in a folder, in a file or on the hub."""
    given = {"name": "local", "revision": None, "published": None, "trust_remote_code": False}
    return ModelSettings(path=str(path), dtype=dtype, **given | options)


def random_model(kind: str, tokenizer: Any, seed: int = 0, **choices: Any) -> Any:
    """A random model of an architecture that can be pretrained, of two blocks unless chosen."""
    from bench.models.untrained import UntrainedSettings, build

    given = {"num_hidden_layers": 2} | choices
    return build(UntrainedSettings(kind, kind, "tiny", "embedded", given).config(tokenizer), seed)


def save_random_llama(folder: Path, tokenizer: Any) -> None:
    """Save a random two-layer LLaMA with this tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=64,
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def python(
    *arguments: object, cwd: Path = PROJECT, timeout: float = 280, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def records_of(results: Path) -> list[dict[str, Any]]:
    """The records of the finished runs in a results folder."""
    return [json.loads(path.read_text()) for path in results.glob("runs/*/record.json")]
