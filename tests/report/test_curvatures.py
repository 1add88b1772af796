"""The lines under a table that say which K the layers of a row have."""

from bench.report import TableSpec, build
from bench.report.curvatures import RULE, curvature_notes

LABELS = ("HypLoRA (K=auto)",)


def gates(q_proj, down_proj):
    facts = {"mean": 0.1, "median": 0.1, "variation": 0.0, "largest": 0.2, "clamped": 0.0}
    found = {"q_proj": q_proj, "down_proj": down_proj}
    return [
        {"layer": f"model.layers.{i}.{module}", "module": module, "curvature": K, **facts}
        for module, values in found.items()
        for i, K in enumerate(values)
    ]


def run(record, curvature, start, end=None, seed=0):
    moments = {"start": start, "end": start if end is None else end}
    return record("hyplora", seed, curvature=curvature, training={"gates": moments})


def test_what_was_measured_is_told_by_module_type_and_what_auto_is(record):
    runs = [
        run(record, "auto", gates((2.0, 3.0), (0.5, 1.0))),
        run(record, "auto", gates((2.0, 3.0), (0.5, 2.0)), seed=1),
    ]
    assert curvature_notes([runs], LABELS) == [
        RULE,
        "K of HypLoRA (K=auto), mean over layers and seeds, as measured: q_proj 2.50, "
        "down_proj 1.00.",
    ]


def test_what_was_learned_is_told_beside_where_it_started(record):
    for curvature, lines in (("auto", 2), (1.0, 1)):
        one = run(record, curvature, gates((1.0,), (1.0,)), gates((1.0,), (0.25,)))
        notes = curvature_notes([[one]], ("HypLoRA",))
        assert len(notes) == lines
        assert notes[-1].endswith(
            "before → after training: q_proj 1.00 → 1.00, down_proj 1.00 → 0.25."
        )


def test_a_fixed_number_needs_no_line_nor_does_a_record_that_does_not_tell(record):
    fixed = run(record, 1.0, gates((1.0,), (1.0,)))
    older = [{k: v for k, v in one.items() if k != "curvature"} for one in gates((1,), (1,))]
    tangent = run(record, None, gates((None,), (None,)))
    rows = [[fixed], [run(record, 0.5, older)], [record("lora")], [tangent]]
    assert curvature_notes(rows, ("one", "older", "lora", "tangent")) == []
    # nor may one run that does not tell pass for a mean over seeds
    mixed = [run(record, "auto", gates((1,), (1,))), run(record, "auto", older, seed=1)]
    assert curvature_notes([mixed], LABELS) == [RULE]


def test_the_lines_stand_under_the_table(record):
    table = build([run(record, "auto", gates((2.0,), (0.5,)))], TableSpec(name="toy", title="Toy"))
    assert RULE in table.notes
    assert any(note.startswith("K of HypLoRA, ") for note in table.notes)
