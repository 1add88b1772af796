"""What the tests of sweeps share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def records(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """The records of all finished runs so far."""
    import json

    def read() -> list[dict[str, Any]]:
        found = (tmp_path / "results").glob("runs/*/record.json")
        return [json.loads(path.read_text()) for path in found]

    return read
