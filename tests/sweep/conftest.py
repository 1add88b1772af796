"""Whole commands within the test's own process, which has imported everything already."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Told(NamedTuple):
    code: int
    stdout: str
    stderr: str


@pytest.fixture
def inline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """Run `python bench/run.py ARGUMENTS` here, its results in a folder of the test's own."""

    def call(*arguments: str) -> Told:
        from bench.run import main

        command = ["bench/run.py", *arguments, f"tracking.folder={tmp_path / 'results'}"]
        monkeypatch.setattr(sys, "argv", command)
        for name in ("HYPLORA_BENCH_BEGAN", "HYPLORA_BENCH_JOBS", "HYDRA_FULL_ERROR"):
            monkeypatch.setenv(name, "")  # main sets them; they end with the test
        capfd.readouterr()
        code = main()
        return Told(code, *capfd.readouterr())

    return call


@pytest.fixture
def records(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """The records of all finished runs so far."""
    import json

    def read() -> list[dict[str, Any]]:
        found = (tmp_path / "results").glob("runs/*/record.json")
        return [json.loads(path.read_text()) for path in found]

    return read
