import numpy as np
import pytest


@pytest.fixture
def answered(record):
    """Make a record with outcomes, drawn with the accuracy that each benchmark is given."""

    def make(method="lora", seed=0, tests="same rows", draws=None, items=120, **sets):
        draws = np.random.default_rng([0, seed or 0, len(method)]) if draws is None else draws
        sets = sets or {"mawps": 0.7}
        changes = {key: sets.pop(key) for key in ("curvature", "options", "data") if key in sets}
        made = record(method, seed, (0,) * len(sets), sets={k: (k, items) for k in sets}, **changes)
        made["identity"] += str(changes.get("options", ""))
        for key, given in sets.items():
            text = "".join("1" if hit else "0" for hit in draws.random(items) < given)
            score = made["scores"][key]
            score |= {
                "correct": text.count("1"),
                "accuracy": 100 * text.count("1") / items,
                "outcomes": text,
            }
        made["hashes"] = {"tests": tests}
        return made

    return make
