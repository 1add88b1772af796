"""Tables as LaTeX: what is in them, and that they compile."""

import re
import shutil
import subprocess

import pytest

from bench.report import TableSpec, build, load_published, to_latex, to_markdown
from bench.report.efficiency import efficiency_document
from bench.report.latex import latex
from bench.report.latex_text import in_latex
from bench.report.layout import Document, Section

SPEC = TableSpec(name="toy", title="Toy", published="table2")
# Signs that LaTeX gives a meaning, some of Unicode that reports hold, and some without a glyph.
SIGNS = r"\ { } $ & # % _ ^ ~ < > | \" ' ` [ ] * -- --- ± × → δ ≤ ² é 中 🙂 \input{x} \end{table}"


@pytest.fixture
def table(record):
    runs = [record(seed=seed, correct=(right, 240)) for seed, right in enumerate((88, 90, 95))]
    return build([record("none"), *runs], SPEC)


@pytest.fixture
def beside(record):
    runs = [record("hyplora", published_base="Gemma3-4B"), record(published_base="Gemma3-4B")]
    return build(runs, SPEC, load_published("table2"))


@pytest.fixture
def compiled(tmp_path):
    """Set LaTeX in an article and return the text of its pages."""
    if shutil.which("pdflatex") is None or shutil.which("pdftotext") is None:
        pytest.skip("pdflatex and pdftotext are not both installed")

    def set_type(*texts):
        (tmp_path / "main.tex").write_text(
            r"\documentclass{article}\usepackage{booktabs}\usepackage{graphicx}\begin{document}"
            + "\n\n".join(texts)
            + "\n\\end{document}\n",
            encoding="utf-8",
        )
        done = subprocess.run(
            ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "main.tex"],
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
        )
        log = done.stdout.decode(errors="replace")
        assert done.returncode == 0, log[-2000:]
        assert "Overfull" not in log
        shown = subprocess.run(
            ["pdftotext", "-layout", "main.pdf", "-"], cwd=tmp_path, capture_output=True, timeout=60
        )
        return shown.stdout.decode()

    return set_type


def cells(text, label):
    line = next(x for x in text.splitlines() if x.startswith(f"{{}}{label} &"))
    return [re.sub(r"\\phantom{.*}$", "", cell.strip(" \\")) for cell in line.split("&")[1:]]


def test_figures_are_those_of_the_other_formats(table):
    assert cells(to_latex(table), "LoRA")[:2] == [r"91.0 $\pm$ 3.6", r"80.0 $\pm$ 0.0"]
    assert "| LoRA | 91.0 ± 3.6 | 80.0 ± 0.0 |" in to_markdown(table)


def test_a_mean_without_deviation_keeps_its_place_in_the_column(table):
    assert r"{}base model & 90.0\phantom{ $\pm$ 3.6} &" in to_latex(table)


def test_it_says_what_it_needs_and_what_was_compared(table):
    text = to_latex(table)
    assert text.splitlines()[1] == r"% Needs \usepackage{booktabs} and \usepackage{graphicx}."
    for part in (r"\caption{Toy}", r"\label{tab:toy}", "Base: tiny.", "LoRA: 0, 1, 2"):
        assert part in text


def test_footnotes_are_raised(beside):
    assert re.search(r"HypLoRA\\textsuperscript{\d(,\d)*}", to_latex(beside))
    assert "\n\\textsuperscript{1} " in to_latex(beside)


def test_differences_have_a_minus_not_a_hyphen(beside):
    assert "{} & difference & +1.8 & $-$3.9 &" in to_latex(beside)


def test_a_grid_wider_than_the_page_is_split_and_names_its_rows_again():
    header = ("Method", *(f"benchmark number {n}" for n in range(12)))
    grid = Section("", header, (("LoRA", *map(str, range(12))),))
    text = latex(Document("Wide", {}, (grid,)), "wide")
    assert text.count(r"\begin{table}") == 1
    assert text.count(r"\begin{tabular}") == text.count("{}LoRA &") == 3
    assert [n for n in range(12) if f"benchmark number {n} " not in text] == []


def test_words_without_a_grid_stand_under_the_table_before(table, record):
    text = to_latex(build([record()], SPEC, load_published("table2")))
    assert text.count(r"\begin{table}") == 2
    assert "Beside the paper: The paper (the camera-ready's Tables 3 and 8) has no rows" in text


def test_every_document_compiles(table, beside, efficiency_report, compiled):
    report = efficiency_document(efficiency_report)
    shown = compiled(to_latex(table), to_latex(beside), latex(report, "efficiency"))
    assert "91.0 ± 3.6" in shown and "1.05 [1.04, 1.06]" in shown and "−3.9" in shown


def test_any_sign_compiles_wherever_text_may_stand(compiled):
    rows = tuple((sign, sign) for sign in SIGNS.split())
    section = Section(SIGNS, (SIGNS, "1"), rows, (SIGNS,))
    shown = compiled(latex(Document(SIGNS, {SIGNS: SIGNS}, (section,)), "signs"))
    assert r"\input{x}" in shown and "U+4E2D" in shown and r"\end{table}" in shown


def test_signs_mean_nothing_but_themselves():
    assert in_latex("a_b & 5% of {x}") == r"a\_b \& 5\% of \{x\}"
    assert in_latex("\\end") == r"\textbackslash{}end"
    assert in_latex("--out") == "-{}-out"
    assert in_latex("é ± δ ¹,²") == r"\'{e} $\pm$ $\delta$ \textsuperscript{1,2}"
    assert in_latex("\x1b[2J") == r"\textbackslash{}x1b[2J"
