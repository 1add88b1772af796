"""A comparison as a sentence."""

from __future__ import annotations

from bench.report.comparison import BETTER, MEASURES, WORSE, Comparison
from bench.report.tables import between, number


def sentence(found: Comparison) -> tuple[str, str, str]:
    """A comparison with its interval, corrected p-value and number of seeds.

    Returns:
        The words before the verdict, the verdict, and the rest: `HypLoRA is`, `worse`, ` than
        LoRA: ...`.
    """
    measure = MEASURES[found.measure]
    form = f"+{measure.format}"
    facts = []
    if found.low is not None:
        facts.append(f"95% interval {between(found.low, found.high, form)}")
    if found.p_holm is not None:
        facts.append(f"p (Holm) {number(found.p_holm, 'p')}")
    if found.seeds:
        facts.append(f"{len(found.seeds)} seed{'s' if len(found.seeds) > 1 else ''}")
    rest = "" if found.difference is None else f": {found.difference:{form}} {measure.unit}"
    rest += f" ({', '.join(facts)})." if facts else "."
    if found.verdict in (BETTER, WORSE):
        return f"{found.label} is", found.verdict, f" than {found.reference_label}{rest}"
    return f"{found.label} vs. {found.reference_label}:", found.verdict, rest
