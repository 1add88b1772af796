"""What the dashboard says of a run."""

from pathlib import Path

from bench.report.note import run_note


def test_it_says_what_the_run_is_what_it_scored_and_where_it_lies(record):
    note = run_note(
        record("hyplora", curvature=0.5, averages={"micro": 82.5}), Path("runs/0123abcd")
    )
    assert note.startswith("hyplora, K = 0.5, on tiny, trained on 1,500 rows, synthetic data,")
    assert "| MAWPS | 90.0 | 90 | 100 | 98.0 |" in note and "| micro | 82.5 | | | |" in note
    assert "runs/0123abcd" in note and "action=export action.run=0123abcd" in note


def test_what_was_not_trained_is_not_shared(record):
    bare = record("none", averages={}, rows={"train": 0})
    assert "action=export" not in run_note(bare, Path("runs/0123abcd"))


def test_names_are_text(record):
    hostile = "<img src=x onerror=alert(1)> | [x](http://127.0.0.1) \x1b[2J"
    run = record(averages={}, model=hostile)
    run["scores"]["mawps"]["label"] = hostile
    note = run_note(run, Path(hostile))
    assert "<img" not in note and "[x](" not in note and "\x1b" not in note
    assert note.count("&lt;img") == 3
