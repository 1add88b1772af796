"""What the tests of sweeps share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import records_of


@pytest.fixture
def records(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """The records of all finished runs so far."""
    return lambda: records_of(tmp_path / "results")
