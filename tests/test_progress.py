"""What is told of work that takes a while."""

import pytest

from bench.progress import Progress


@pytest.mark.parametrize(("rank", "lines"), [(None, 2), ("0", 2), ("1", 0)])
def test_of_several_ranks_the_first_alone_tells(rank, lines, monkeypatch, capsys):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    with Progress("work", total=3, unit="step", seconds=0.0) as progress:
        for _ in range(3):
            progress.update(1)
    assert len(capsys.readouterr().out.splitlines()) == lines
