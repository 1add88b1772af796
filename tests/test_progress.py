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
        "work: step 1/3, loss 0.500, ETA 0 s",
        "work: step 2/3, loss 0.500, ETA 0 s",
    ]


@pytest.mark.parametrize(("rank", "lines"), [("0", 2), ("1", 0)])
def test_only_the_first_rank_reports(rank, lines, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert len(shown(capsys)) == lines
