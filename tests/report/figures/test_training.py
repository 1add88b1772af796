from bench.report.figures.training import POINTS, figure
from tests.report.score_runs import finished


def losses(facts):
    """The (step, loss) pairs by row, seed and kind of loss."""
    found = {}
    for fact in facts:
        line = found.setdefault((fact["row"], fact["seed"], fact["curve"]), [])
        line.append((fact["step"], fact["loss"]))
    return found


def test_a_line_is_thinned_and_keeps_its_end(table, training, drawn):
    runs = [finished(seed=seed, training=training(steps=97)) for seed in (0, 1)]
    found = losses(drawn(figure(table(runs))))
    kinds = ("training loss", "validation loss")
    assert set(found) == {("LoRA", seed, kind) for seed in (0, 1) for kind in kinds}
    line = found["LoRA", 0, "training loss"]
    assert len(line) <= POINTS and line[-1][0] == 96
    assert found["LoRA", 0, "validation loss"] == [(48, 1.333), (97, 0.8)]


def test_of_many_rows_each_method_keeps_the_one_with_most_parameters(table, training, drawn):
    runs = [
        finished(
            method,
            curvature=k,
            parameters={"trainable": int(1000 * k), "total": 10**6},
            training=training(),
        )
        for method in ("hyplora", "hyplora_boost", "hyplora_tangent")
        for k in (1.0, 3.0, 2.0)
    ]
    made = figure(table(runs))
    assert {row for row, *_ in losses(drawn(made))} == {
        f"HypLoRA ({name}K=3.0)" for name in ("", "boost, ", "tangent, ")
    }
    assert made.caption.endswith("3 of 9 rows: of each method the one with most parameters.")


def test_of_many_rows_of_one_method_the_first_are_drawn(table, training, drawn):
    runs = [finished("hyplora", curvature=float(k), training=training()) for k in range(1, 11)]
    made = figure(table(runs))
    assert len({row for row, *_ in losses(drawn(made))}) == 8
    assert made.caption.endswith("The first 8 of 10 rows.")
