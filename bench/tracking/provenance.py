"""The provenance of a number: code, packages, machine."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "lightning", "tokenizers", "numpy", "bitsandbytes")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result may depend on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def git_state(project: Path) -> dict[str, Any]:
    """The commit, and whether the tree differs from it; the commit is None outside a checkout.

    Results, tests and documents do not count: no result depends on them.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(project), *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
        ).stdout.strip()

    try:
        others = [f":(exclude){name}" for name in ("results", "tests", "docs", "*.md")]
        changed = git("status", "--porcelain", "--", ".", *others)
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def device_name(device: Any) -> str:
    """The name of the GPU, or of the processor with the number of threads."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
