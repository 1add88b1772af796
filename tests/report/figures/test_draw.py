import pytest

from bench.report import TableSpec, build, draw

SPEC = TableSpec(name="toy", title="Toy", figures=("accuracy", "gates"))


def gates(mean):
    facts = {"median": mean, "variation": 0.1, "largest": 2 * mean, "clamped": 0.0}
    names = ("q_proj", "down_proj")
    return [{"layer": f"layers.0.{n}", "module": n, "mean": mean, **facts} for n in names]


def drawn(runs, folder):
    return draw(build(runs, SPEC), runs, SPEC, folder)


def test_figures_are_written_as_svg_and_png_with_every_row_in_them(record, tmp_path):
    moments = {"start": gates(0.1), "end": gates(0.3)}
    runs = [record(seed=0), record(seed=1), record("hyplora", curvature=1.0)]
    runs[2]["training"] = {"gates": moments}
    for run in runs[:2]:
        run["training"] = {}
    paths = drawn(runs, tmp_path / "figures")
    assert [path.name for path in paths] == [
        "toy_accuracy.svg",
        "toy_accuracy.png",
        "toy_gates.svg",
        "toy_gates.png",
    ]
    assert all(path.stat().st_size > 3000 for path in paths)


def test_without_gates_there_is_no_figure_of_them(record, tmp_path):
    runs = [record() | {"training": {}}]
    assert [path.name for path in drawn(runs, tmp_path)] == ["toy_accuracy.svg", "toy_accuracy.png"]


@pytest.mark.parametrize("name", ["toy_accuracy.svg", "toy_accuracy.png"])
def test_the_same_runs_give_the_same_file(record, tmp_path, name):
    runs = [record() | {"training": {}}]
    contents = []
    for folder in ("one", "two"):
        drawn(runs, tmp_path / folder)
        contents.append((tmp_path / folder / name).read_bytes())
    assert contents[0] == contents[1]
