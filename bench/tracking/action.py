"""action=dashboard: MLflow's interface over the recorded runs."""

from __future__ import annotations

import signal
from typing import Any

from bench.config import read_action, read_tracking
from bench.errors import ended_by_sigterm
from bench.tracking.dashboard import DashboardSettings
from bench.tracking.dashboard import dashboard as serve


def dashboard(config: dict[str, Any]) -> dict[str, Any]:
    """Serve it until Ctrl-C."""
    settings, tracking = read_action(DashboardSettings, config), read_tracking(config)
    with ended_by_sigterm(signal.SIGHUP):  # of a terminal that is closed
        summary = serve(tracking.results, tracking.uri, tracking.experiment, settings.port)
    return {"summary": summary}
