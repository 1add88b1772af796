"""Text as LaTeX, for any of its engines and without packages.

Signs that have a meaning of their own are written out. Of Unicode, what reports are made of is
known: signs of arithmetic, Greek letters, superscripts, accents. pdflatex stops at a character that
it has no glyph for, so any other is shown by its number, as U+4E2D.
"""

from __future__ import annotations

import re
import unicodedata

from bench.report.formats.escape import one_line

_SMALL = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega"
)
_CAPITAL = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"


def _greek(name: str) -> str:
    size = "CAPITAL" if name[0].isupper() else "SMALL"
    return unicodedata.lookup(f"GREEK {size} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}")


_MATHS = {
    "±": r"\pm",
    "×": r"\times",
    "·": r"\cdot",
    "−": "-",
    "≤": r"\leq",
    "≥": r"\geq",
    "≈": r"\approx",
    "≠": r"\neq",
    "√": r"\surd",
    "∞": r"\infty",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "↔": r"\leftrightarrow",
    "°": r"^\circ",
    "µ": r"\mu",  # the sign for a millionth, beside the Greek letter
    **{_greek(name): f"\\{name}" for name in f"{_SMALL} {_CAPITAL}".split()},
}
_TEXT = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"$\sim$",  # about
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\`{}",
    "\u00a0": "~",
    "\u202f": r"\,",
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    **{character: f"${command}$" for character, command in _MATHS.items()},
}
_ACCENTS = {
    "GRAVE ACCENT": "`",
    "ACUTE ACCENT": "'",
    "CIRCUMFLEX ACCENT": "^",
    "TILDE": "~",
    "MACRON": "=",
    "BREVE": "u",
    "DOT ABOVE": ".",
    "DIAERESIS": '"',
    "RING ABOVE": "r",
    "DOUBLE ACUTE ACCENT": "H",
    "CARON": "v",
    "CEDILLA": "c",
}
_RAISED = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹]+(?:,[⁰¹²³⁴⁵⁶⁷⁸⁹]+)*)")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_NEGATIVE = re.compile(r"(?<![\w.)])-(?=\d)")


def in_latex(text: str) -> str:
    """Text for a paragraph, a caption or a cell of a LaTeX document."""
    parts = _RAISED.split(one_line(text))
    return "".join(
        f"\\textsuperscript{{{part.translate(_DIGITS)}}}" if number % 2 else _plain(part)
        for number, part in enumerate(parts)
    )


def _plain(text: str) -> str:
    # A hyphen before a figure is a minus; two of a kind would become another sign.
    pieces = re.findall(r"-+|,+|'+|.", _NEGATIVE.sub("−", text))
    return "".join("{}".join(map(_character, piece)) for piece in pieces)


def _character(character: str) -> str:
    if character in _TEXT:
        return _TEXT[character]
    if character.isascii():
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha():
        accent = _ACCENTS.get(unicodedata.name(parts[1], "").removeprefix("COMBINING "))
        if accent is not None:
            return f"\\{accent}{{{parts[0]}}}"
    return f"U+{ord(character):04X}"
