import pytest

from bench.progress import Progress


def shown(capsys, **values):
    with Progress("work", total=3, unit="step", seconds=0.0) as progress:
        for _ in range(3):
            progress.update(1, **values)
    return capsys.readouterr().out.splitlines()


def test_a_line_has_unit_done_values_and_remaining_time(capsys, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert shown(capsys, loss=0.5) == [
        "work: step 1/3, loss 0.500",
        "work: step 2/3, loss 0.500, ETA 0 s",
    ]


def test_the_remaining_time_does_not_count_a_slow_first_unit(capsys, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    clock = iter([0.0, 100.0, 102.0, 104.0])
    monkeypatch.setattr("bench.progress.time.monotonic", lambda: next(clock))
    with Progress("work", total=13, unit="step", seconds=0.0) as progress:
        for _ in range(3):
            progress.update(1)
    assert capsys.readouterr().out.splitlines() == [
        "work: step 1/13", "work: step 2/13, ETA 22 s", "work: step 3/13, ETA 20 s"
    ]  # fmt: skip


@pytest.mark.parametrize(("rank", "lines"), [("0", 2), ("1", 0)])
def test_only_the_first_rank_reports(rank, lines, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert len(shown(capsys)) == lines
