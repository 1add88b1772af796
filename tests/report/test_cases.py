import pytest

from bench.report.cases import LONGEST, case_studies
from bench.report.score_table import score_table
from tests.report.score_runs import finished, selection

SETS = {"mawps": ("MAWPS", 6), "AQuA": ("AQuA", 2)}
# By method, what it answers correctly: of mawps 0 to 5 and AQuA 0 and 1.
RIGHT = {"none": "000000 00", "lora": "110010 10", "hyplora": "101010 01"}


def lines(method, right=None, **changes):
    found = []
    for task, flags in zip(SETS, (right or RIGHT[method]).split(), strict=True):
        for index, flag in enumerate(flags):
            found.append(
                {
                    "task": task,
                    "index": index,
                    "question": f"{task} question {index}",
                    "text": f" {method} wrote {index}.",
                    "prediction": float(index),
                    "answer": str(index),
                    "correct": flag == "1",
                    "reason": None,
                    **changes,
                }
            )
    return found[::-1]  # as a file may have them, in any order


@pytest.fixture
def studied():
    def make(methods=("none", "lora", "hyplora"), written=None, seeds=(0,), **options):
        runs = [
            finished(m, s, (3, 1), 1.0 if m == "hyplora" else None, SETS, run_id=f"{m}-{s}")
            for m in methods
            for s in (seeds if m != "none" else (None,))
        ]
        written = written or {run["run_id"]: lines(run["method"]) for run in runs}
        table = score_table(selection(runs))
        return case_studies(table, lambda run_id: written.get(run_id, []), **options)

    return make


def problems(studies):
    return [(case["task"], case["index"]) for case in studies["cases"]]


def test_both_directions_of_every_pair_are_counted_over_all_problems(studied):
    found = studied(shown=1)
    assert len(found["cases"]) == 1 and sum(found["totals"].values()) == 8
    lora, hyplora = 1, 2
    assert found["pair"] == (lora, hyplora)
    mawps, aqua = found["split"]["mawps"], found["split"]["AQuA"]
    assert mawps[lora][hyplora] == mawps[hyplora][lora] == 1
    assert aqua[lora][hyplora] == aqua[hyplora][lora] == 1
    assert (mawps[0][lora], mawps[lora][0]) == (3, 0)
    assert found["right"] == {"mawps": [0, 3, 3], "AQuA": [0, 1, 1]}


def test_what_the_pair_disagrees_on_comes_first_then_what_others_do_then_the_rest(studied):
    found = problems(studied())
    assert set(found[:4]) == {("mawps", 1), ("mawps", 2), ("AQuA", 0), ("AQuA", 1)}
    assert set(found[4:6]) == {("mawps", 0), ("mawps", 4)}
    assert set(found[6:]) == {("mawps", 3), ("mawps", 5)}


def test_the_directions_come_by_turns(studied):
    first, second = problems(studied(shown=2))
    wrong_then_right, right_then_wrong = {("mawps", 2), ("AQuA", 1)}, {("mawps", 1), ("AQuA", 0)}
    assert first in wrong_then_right and second in right_then_wrong


def test_a_selection_says_what_it_is(studied):
    assert studied()["notes"] == []
    (note,) = studied(shown=3)["notes"]
    assert note.startswith("3 of the 8 problems are shown: first those that LoRA and HypLoRA dis")


def test_texts_are_held_to_a_size(studied):
    few = studied(characters=150)
    assert 1 < len(few["cases"]) < 8
    assert sum(len(answer["text"]) for case in few["cases"] for answer in case["answers"]) <= 150


def test_a_long_text_is_cut_and_says_by_how_much(studied):
    text = "x" * (LONGEST + 7)
    written = {"lora-0": lines("lora", text=text), "dora-0": lines("lora")}
    answer = studied(("lora", "dora"), written)["cases"][0]["answers"][0]
    assert len(answer["text"]) == LONGEST and answer["left_out"] == 7


def test_the_seed_that_most_rows_have_is_shown(studied):
    written = {f"{m}-{s}": lines("lora") for m in ("lora", "dora") for s in (0, 1)}
    assert studied(("lora", "dora"), written, seeds=(1, 0))["seed"] == 0


def test_a_row_without_answers_is_named_and_left_out(studied):
    written = {f"{m}-0": lines("lora") for m in ("lora", "dora")}
    found = studied(("lora", "dora", "series"), written)
    assert found["rows"] == ["LoRA", "DoRA"]
    assert "No answers of seed 0: Series." in found["notes"]


def test_there_is_nothing_to_compare_in_one_row(studied):
    assert studied(("lora", "dora"), {"lora-0": lines("lora")}) is None


def test_control_characters_are_written_out(studied):
    written = {
        f"{m}-0": lines("lora", text="a\x1b[31mb\u202ec", prediction=7.0) for m in ("lora", "dora")
    }
    answer = studied(("lora", "dora"), written)["cases"][0]["answers"][0]
    assert answer["text"] == "a\\x1b[31mb\\u202ec" and answer["said"] == "7"
