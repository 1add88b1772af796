import sys

import pytest

from tests.torture.__main__ import Line, main


def test_a_line_has_its_tries_and_faults():
    assert Line("a", 3, 5).row == "| a | 3 | 5 | as undisturbed |"
    assert Line("b", 1).row == "| b | 1 |  | as required |"
    assert Line("c").outcome == "not tried"
    row = Line("d", 2, 2, ["x | y", "x | y"]).row
    assert row == r"| d | 2 | 2 | **2 failed**: x \| y |"


@pytest.mark.slow
def test_an_interrupted_run_is_tried_and_written_down(tmp_path, monkeypatch, capsys):
    out = tmp_path / "reliability.md"
    words = ["torture", "--only=recording", "--kills=1", "--workers=1", f"--out={out}"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0, capsys.readouterr().out
    assert "| recording | " in out.read_text() and "as undisturbed" in out.read_text()
