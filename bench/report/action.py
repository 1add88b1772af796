"""action=report: all tables and figures from the tracking store."""

from __future__ import annotations

from typing import Any

from bench.config import read_action, read_tracking
from bench.make_report import ReportSettings, make_report


def report(config: dict[str, Any]) -> dict[str, Any]:
    """Write the report."""
    return {"summary": make_report(read_tracking(config), read_action(ReportSettings, config))}
