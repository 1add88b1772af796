import pytest

from bench.report import search
from bench.report.search import draw_search

TRIALS = [(2, [0.3, 5.0]), (0, [0.5, 1.0]), (1, [0.4, 9.0])]


@pytest.fixture
def drawn(monkeypatch):
    """The rows of data of a search's figure, and how many panels it has."""

    def draw(trials, objectives, importances=(), best=()):
        kept = []
        monkeypatch.setattr(search, "save", lambda figure, folder, name: kept.append(figure))
        draw_search(trials, objectives, dict(importances), best, None, "toy_search")
        spec = kept[0].spec
        return spec["data"]["values"], len(spec["concat"])

    return draw


@pytest.mark.parametrize(
    ("direction", "expected"), [("minimize", [0.5, 0.4, 0.3]), ("maximize", [0.5, 0.5, 0.5])]
)
def test_one_objective_has_the_best_so_far_and_the_importances(drawn, direction, expected):
    trials = [(number, values[:1]) for number, values in TRIALS]
    rows, panels = drawn(trials, [("validation_loss", direction)], {"lr": 0.9, "seed": 0.1}.items())
    assert [row["line"] for row in rows if "trial" in row] == expected
    assert {"key": "lr", "share": 0.9} in rows and panels == 2


def test_two_objectives_have_a_front(drawn):
    objectives = [("validation_loss", "minimize"), ("seconds", "minimize")]
    rows, panels = drawn(TRIALS, objectives, best=[0, 2])
    assert [(row["kind"], row.get("line")) for row in rows] == [
        ("Pareto front", 1.0),
        ("trial", None),
        ("Pareto front", 5.0),
    ]
    assert panels == 1
