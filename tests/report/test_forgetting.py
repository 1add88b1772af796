from bench.report import TableSpec, build


def loss(before, after):
    return {
        "sha256": "x",
        "before": {"nats_per_token": before, "bits_per_byte": 1.0},
        "after": {"nats_per_token": after, "bits_per_byte": 1.0},
    }


def test_the_line_under_a_table_gives_the_mean_over_seeds(record):
    runs = [
        record("lora", seed=0, forgetting=loss(1.0, 2.0)),
        record("lora", seed=1, forgetting=loss(1.0, 3.0)),
        record("hyplora", forgetting=loss(1.0, 1.5), curvature=1.0),
    ]
    notes = build(runs, TableSpec(name="t", title="t")).notes
    (line,) = [note for note in notes if note.startswith("Cross-entropy of general text")]
    assert "LoRA 1.000 → 2.500; HypLoRA 1.000 → 1.500." in line


def test_there_is_no_line_where_it_was_not_measured(record):
    notes = build([record()], TableSpec(name="t", title="t")).notes
    assert not any("Cross-entropy" in note for note in notes)
