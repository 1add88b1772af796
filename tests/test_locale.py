"""An ASCII locale: characters that it lacks are escaped, and nothing ends in an error."""

from bench.config import PROJECT
from tests.helpers import python

SCRIPT = """
import sys
from pathlib import Path
from bench.files import read_cache, write_json
from bench.report.formats import show
from bench.report.tables import Cell, Column, Report, Row, Table
from bench.run import explained, main, masked_output

code = main()
row = Row(("HypLoRA, é",), {"a": Cell(1.5)})
columns = (Column("a", "δ", ".1f"),)
table = Table("t", columns=columns, rows=(row,), heading="−1/K", notes=("ρ ± 1 …",))
with masked_output():
    show(Report("x", "Accuracy ≥ 1", {"Base": "ж"}, (table,)))
argument, folder = sys.argv[1], sys.argv[2].partition("=")[2]
write_json(Path(folder) / "x.json", {"a": argument})
assert read_cache(Path(folder) / "x.json") == {"a": argument}
try:
    argument.encode()
except UnicodeEncodeError as error:
    assert explained(error)[0] == 2
sys.exit(code)
"""


def test_nothing_fails_in_a_locale_without_unicode(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    words = ('method="hypløra"', f"tracking.folder={tmp_path}")
    ascii_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(PROJECT)}
    done = python(tmp_path / "script.py", *words, **ascii_locale)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    (error,) = done.stderr.splitlines()
    assert error.startswith(r"error: unknown method 'hypl\udcc3\udcb8ra'. Did you mean hyplora")
    assert r"Accuracy \u2265 1" in done.stdout and r"HypLoRA, \xe9" in done.stdout
