"""Reports as LaTeX: what is in them, and that they compile."""

import re
import shutil
import subprocess

import pytest

from bench.report.formats import to_latex
from bench.report.formats.latex import KNOWN, in_latex
from bench.report.tables import Cell, Column, Report, Row, Table
from tests.report.formats.test_formats import REPORT

# Characters with a meaning in LaTeX, some of Unicode that reports have, and some without a glyph.
SIGNS = r"\ { } $ & # % _ ^ ~ < > | \" ' ` [ ] * -- --- ± × → δ ≤ ² é 中 🙂 \input{x} \end{table}"
# Commands of LaTeX itself, in its text encoding OT1 and its symbols TS1; accents aside.
COMMANDS = set(
    "AE Delta Gamma H L Lambda O OE Omega Phi Pi Psi Sigma Theta Upsilon Xi ae alpha approx beta c "
    "chi circ delta ensuremath epsilon eta gamma geq i infty iota kappa l lambda leftarrow "
    "leftrightarrow leq mu neq nu o oe omega phi pi pm psi r rho rightarrow sigma sim ss tau "
    "textasciicircum textasciigrave textbackslash textbar textdagger textdaggerdbl textellipsis "
    "textemdash textendash textperiodcentered textquotedblleft textquotedblright textquoteleft "
    "textquoteright textsection textsuperscript theta times u upsilon v varepsilon varphi varsigma "
    "vartheta xi zeta".split()
)
WIDE = Report(
    "wide",
    "Wide",
    {},
    (
        Table(
            "wide",
            columns=tuple(Column(f"{n}", f"benchmark number {n}", "d") for n in range(12)),
            rows=(Row(("LoRA",), {f"{n}": Cell(n) for n in range(12)}),),
        ),
    ),
)


@pytest.fixture
def compiled(tmp_path):
    """Typeset LaTeX in an article and return the text of its pages."""
    engine = shutil.which("pdflatex") or shutil.which("xelatex")
    if engine is None or shutil.which("pdftotext") is None:
        pytest.skip("pdflatex or xelatex, and pdftotext, are not installed")

    def typeset(*texts):
        (tmp_path / "main.tex").write_text(
            r"\documentclass{article}\usepackage{booktabs}\usepackage{graphicx}\begin{document}"
            + "\n\n".join(texts)
            + "\n\\end{document}\n",
            encoding="utf-8",
        )
        command = [engine, "-halt-on-error", "-interaction=nonstopmode", "main.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
        log = done.stdout.decode(errors="replace")
        assert done.returncode == 0, log[-2000:]
        assert "Overfull" not in log
        shown = subprocess.run(
            ["pdftotext", "-layout", "main.pdf", "-"], cwd=tmp_path, capture_output=True, timeout=60
        )
        return shown.stdout.decode()

    return typeset


def test_numbers_are_those_of_the_other_formats_and_aligned_at_their_end():
    text = to_latex(REPORT)
    assert r"{}LoRA\textsuperscript{2} & 91.0 \ensuremath{\pm} 3.6 & --" in text
    assert r"{}base model & 2.0\phantom{ \ensuremath{\pm} 3.6} & 2.0" in text
    assert r"{} & difference & +1.8\phantom{\textsuperscript{1,3}} & --" in text
    assert "worse & $-$3.9 [$-$8.0, +0.0]" in text


def test_a_table_wider_than_the_page_is_split_and_names_its_rows_again():
    text = to_latex(WIDE)
    assert text.count(r"\begin{table}") == 1
    assert text.count(r"\begin{tabular}") == text.count("{}LoRA &") == 3
    assert [n for n in range(12) if f"benchmark number {n} " not in text] == []


def test_notes_without_rows_are_printed_below_the_nearest_table():
    first, last = (Table(name, name, notes=(f"{name} note",)) for name in ("first", "last"))
    text = to_latex(Report("toy", "Toy", {}, (first, *WIDE.tables, last)))
    assert text.index("first: first note") < text.index("last: last note")


def test_every_character_needs_no_package():
    found = set()
    for character in filter(KNOWN.match, map(chr, range(0x3000))):
        text = in_latex(character)
        assert text.isascii(), character
        found |= set(re.findall(r"\\([A-Za-z]+)", text))
    assert found <= COMMANDS


def test_special_characters_are_escaped():
    assert in_latex("a_b & 5% of {x}") == r"a\_b \& 5\% of \{x\}"
    assert in_latex("\\end") == r"\textbackslash{}end"
    assert in_latex("--out") == "-{}-out"
    assert in_latex("é ± δ ¹") == r"\'e \ensuremath{\pm} \ensuremath{\delta} \textsuperscript{1}"
    assert in_latex("[-0.5, 1-2] x-3") == "[$-$0.5, 1-2] x-3"
    assert in_latex("\x1b[2J 中") == r"\textbackslash{}x1b[2J U+4E2D"


def test_reports_compile(compiled):
    shown = compiled(to_latex(REPORT), to_latex(WIDE))
    assert "91.0 ± 3.6" in shown and "−3.9" in shown


def test_any_sign_compiles_in_any_place(compiled):
    rows = tuple(Row((sign,), {"a": Cell(sign)}) for sign in SIGNS.split())
    table = Table("signs", SIGNS, (Column("a", SIGNS, "text"),), rows, notes=(SIGNS,))
    shown = compiled(to_latex(Report("signs", SIGNS, {SIGNS: SIGNS}, (table,))))
    assert r"\input{x}" in shown and "U+4E2D" in shown and r"\end{table}" in shown
