"""The description of a run in MLflow."""

from pathlib import Path

import pytest

from bench.tracking.note import run_note
from tests.report.score_runs import finished


@pytest.fixture
def record():
    return finished("hyplora", curvature=0.5, averages={"micro": 82.5})


def test_it_has_settings_scores_files_and_the_export_command(record):
    note = run_note(record, Path("runs/0123abcd"))
    assert note.startswith("hyplora, K = 0.5, on tiny, trained on 1,500 rows, synthetic data,")
    assert "| MAWPS | 90.0 | 90 | 100 | 98.0 |" in note and "| micro | 82.5 | | | |" in note
    assert "runs/0123abcd" in note and "action=export action.run=0123abcd" in note


def test_an_untrained_run_has_no_export_command(record):
    untrained = record | {"seed": None, "curvature": None, "rows": {"train": 0}}
    note = run_note(untrained, Path("runs/0123abcd"))
    assert note.startswith("hyplora, on tiny, synthetic data, protocol fast.")
    assert "action=export" not in note


def test_names_are_escaped(record):
    hostile = "<img src=x onerror=alert(1)> | [x](http://127.0.0.1) \x1b[2J"
    record["model"] = record["scores"]["mawps"]["label"] = hostile
    note = run_note(record, Path(hostile))
    assert "<img" not in note and "[x](" not in note and "\x1b" not in note
    assert note.count("&lt;img") == 3
