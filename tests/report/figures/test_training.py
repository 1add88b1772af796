from bench.report.figures.training import POINTS, charts


def losses(chart):
    """The (step, loss) pairs on the page, by row, seed and kind of loss."""
    found = {}
    (facts,) = chart.spec["datasets"].values()
    for fact in facts:
        line = found.setdefault((fact["row"], fact["seed"], fact["loss of"]), [])
        line.append((fact["step"], fact["loss"]))
    return found


def test_a_line_on_the_page_is_thinned_and_keeps_its_end(subject, record, training):
    runs = [record(seed=seed, training=training(steps=97)) for seed in (0, 1)]
    (chart,) = charts(subject(runs))
    found = losses(chart)
    assert set(found) == {
        ("LoRA", s, f"{k} loss") for s in (0, 1) for k in ("training", "validation")
    }
    line = found["LoRA", 0, "training loss"]
    assert len(line) <= POINTS and line[-1][0] == 96
    assert found["LoRA", 0, "validation loss"] == [(48, 1.333), (97, 0.8)]


def test_of_many_rows_each_method_keeps_the_one_with_most_to_train(subject, record, training):
    runs = [
        record(
            method,
            curvature=k,
            identity=f"{method}-{k}",
            parameters={"trainable": int(1000 * k), "total": 10**6},
            training=training(),
        )
        for method in ("hyplora", "hyplora_boost", "hyplora_tangent")
        for k in (1.0, 3.0, 2.0)
    ]
    (chart,) = charts(subject(runs))
    assert {row for row, *_ in losses(chart)} == {
        f"HypLoRA ({name}K=3.0)" for name in ("", "boost, ", "tangent, ")
    }
