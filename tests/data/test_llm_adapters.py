import json

import pytest

from bench.data.problems import DataSettings
from bench.data.sources import load_problems
from bench.errors import InputError

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def row(i=1, **values):
    return {
        "instruction": f"What is {i} plus 1?",
        "input": "",
        "output": f"{i}+1={i + 1}. The answer is {i + 1}.",
        "answer": str(i + 1.0),
    } | values


def gold(*answers):
    return [row(i, answer=answer) for i, answer in enumerate(answers)]


class Layout:
    """A folder in LLM-Adapters' layout that a test fills."""

    def __init__(self, path):
        self.path = path
        self.write("dataset/SVAMP/test.json", [row(i) for i in range(5)])
        self.write("ft-training_set/math.json", [row(i) for i in range(4)])

    def write(self, name, rows):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rows if isinstance(rows, bytes) else json.dumps(rows).encode())
        return path

    def load(self, train=("math",), tests=("SVAMP",), validation=2, trained=True, **options):
        settings = DataSettings(
            "llm_adapters",
            list(train),
            list(tests),
            root=str(self.path),
            validation=validation,
            **options,
        )
        return load_problems(settings, trained=trained and bool(train))


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


@pytest.mark.parametrize(
    "places",
    [
        ("ft-training_set/own.json", "dataset/own/train.json", "dataset/own/trainset.json"),
        ("dataset/own/train.json", "dataset/own/trainset.json"),
        ("dataset/own/trainset.json",),
        ("ft-training_set/Own.json",),
        ("ft-training_set/own.jsonl", "dataset/own/train.jsonl"),
        ("dataset/own/trainset.json", "ft-training_set/own.jsonl"),
    ],
)
def test_a_training_set_is_the_first_file_that_exists_ignoring_case(layout, places):
    for position, place in enumerate(places):
        layout.write(place, [row(100 * position + i) for i in range(4)])
    loaded = layout.load(train=["own"])
    instructions = {p.instruction for p in loaded.train + loaded.validation}
    assert instructions == {row(i)["instruction"] for i in range(4)}
    assert places[0] in loaded.files


@pytest.mark.parametrize(
    ("folder", "name", "answers"),
    [
        ("SVAMP", "svamp", ["1", "2"]),
        ("MultiArith", "multiarith", ["1", "2.5"]),
        ("mathqa", "mathqa", ["A", "E"]),
        ("csqa", "csqa", ["answer1", "answer5"]),
    ],
)
def test_a_test_set_is_found_ignoring_case_also_without_a_module_of_its_own(
    layout, folder, name, answers
):
    layout.write(f"dataset/{folder}/test.json", gold(*answers))
    assert [p.answer for p in layout.load(train=(), tests=[name]).tests[folder]] == answers


def test_rows_with_an_empty_output_are_dropped_with_a_warning(layout, caplog):
    layout.write("ft-training_set/math.json", [row(0, output=" "), *map(row, range(1, 5))])
    loaded = layout.load()
    assert len(loaded.train + loaded.validation) == 4
    assert "math.json: dropped rows with an empty output: 1" in caplog.text
    assert loaded.without_output == 1


def test_a_json_false_is_an_output(layout):
    layout.write("ft-training_set/math.json", [row(i, output=(0, False)[i % 2]) for i in range(4)])
    loaded = layout.load()
    assert {p.output for p in loaded.train + loaded.validation} == {"0", "false"}
    assert loaded.without_output == 0


@pytest.mark.parametrize("count", [1, 3])
def test_a_test_set_may_be_json_lines(layout, count):
    lines = "\n".join(json.dumps(row(i)) for i in range(count)).encode()
    layout.write("dataset/lines/test.jsonl", lines)
    assert len(layout.load(train=(), tests=["lines"]).tests["lines"]) == count


def test_rows_to_train_on_need_an_answer_only_to_be_scored(layout):
    alpaca = [{"instruction": f"Add {i}.", "output": str(i)} for i in range(4)]
    layout.write("ft-training_set/math.json", alpaca)
    loaded = layout.load()
    assert len(loaded.train) == 2
    with pytest.raises(InputError, match=r"validation row 0 .*has the answer ''"):
        loaded.split("validation")


def test_gsm8k_rows_lose_their_annotations_and_end_with_the_answer_sentence(layout):
    raw = {"question": "How many?", "answer": "48/2 = <<48/2=24>>24 clips.\nDone.\n#### 1,024"}
    path = layout.write("train.jsonl", "\n".join([json.dumps(raw)] * 3).encode())
    (problem,) = layout.load(train=("gsm8k",), gsm8k=str(path)).train
    assert problem.output == "48/2 = 24 clips.\nDone.\nThe answer is 1,024."
    assert problem.answer == "1024"


def test_the_rationale_of_a_mawps_row_is_its_equation(layout):
    raw = {"original_text": "How many?", "equation": "X=((22.0-14.0)/4.0)", "ans": 2.0}
    layout.write("dataset/mawps/trainset.json", [raw] * 3)
    (problem,) = layout.load(train=("mawps",)).train
    assert problem.output == "X=((22.0-14.0)/4.0)\nThe answer is 2."


@pytest.mark.parametrize(
    ("equation", "answer", "solution"),
    [
        ("X=((22.0-14.0)/4.0)", 2.0, "22 - 14 = 8\n8 / 4 = 2\nThe answer is 2."),
        ("x=-2.5*3", -7.5, "-2.5 * 3 = -7.5\nThe answer is -7.5."),
        ("x=0.1+0.2", 0.3, "0.1 + 0.2 = 0.3\nThe answer is 0.3."),
        (" x = 2.0 / 3.0", 0.6667, "2 / 3 = 0.666667\nThe answer is 0.6667."),
        ("X-6=52", 58, "X-6=52\nThe answer is 58."),  # the unknown is not alone
        ("x=40/7", 5, "x=40/7\nThe answer is 5."),  # another answer
        ("x=7", 7, "x=7\nThe answer is 7."),
        ("x=2**9", 512, "x=2**9\nThe answer is 512."),
        ("x=1/0", 1, "x=1/0\nThe answer is 1."),
        ("x=" + "(" * 5000, 1, "x=" + "(" * 5000 + "\nThe answer is 1."),
        ("x=9e999-9e999", 1, "x=9e999-9e999\nThe answer is 1."),
    ],
)
def test_equations_of_mawps_are_worked_out_if_asked_and_if_they_give_the_answer(
    layout, equation, answer, solution
):
    raw = {"original_text": "How many?", "equation": equation, "ans": answer}
    layout.write("dataset/mawps/trainset.json", [raw] * 3)
    (problem,) = layout.load(train=("mawps",), steps=True).train
    assert problem.output == solution


def test_steps_need_rows_with_equations(layout):
    layout.write("ft-training_set/mawps.json", [row(i) for i in range(4)])
    with pytest.raises(InputError, match=r"row 0: lacks equation in place of a solution"):
        layout.load(train=("mawps",), steps=True)


def test_steps_need_a_set_with_equations(layout):
    layout.write("ft-training_set/math.json", [row(i) for i in range(4)])
    with pytest.raises(InputError, match=r"data.steps=true .* data.train is \[math\]: name mawps"):
        layout.load(steps=True)


@pytest.mark.parametrize(
    ("key", "raw", "message"),
    [
        ("mawps", {"original_text": None, "equation": "X=1", "ans": 1}, "original_text is null"),
        ("mawps", {"original_text": "How many?", "equation": None, "ans": 1}, "equation is null"),
        ("mawps", {"original_text": "How many?", "equation": "X=1", "ans": None}, "ans is null"),
        ("gsm8k", {"question": None, "answer": "1\n#### 1"}, "question is null"),
        ("gsm8k", {"question": "How many?", "answer": None}, "answer is null"),
    ],
)
def test_null_is_no_text_to_train_on(layout, key, raw, message):
    layout.write(f"dataset/{key}/trainset.json", [raw] * 3)
    with pytest.raises(InputError, match=f"row 0: {message}"):
        layout.load(train=(key,))


def test_validation_rows_are_not_training_rows_and_the_limit_includes_them(layout):
    layout.write("ft-training_set/math.json", [row(i) for i in range(20)])
    loaded = layout.load(validation=5)
    assert len(loaded.validation) == 5 and len(loaded.train) == 15
    assert not set(loaded.train) & set(loaded.validation)
    loaded = layout.load(limit=4)
    assert len(loaded.train) + len(loaded.validation) == 4 and len(loaded.tests["SVAMP"]) == 4
    assert layout.load(train=()).train == []


def test_the_last_training_rows_test_a_set_without_a_test_file(layout):
    layout.write("ft-training_set/math.json", [row(i) for i in range(20)])
    loaded = layout.load(train=("math",), tests=("math",), held_out=5, validation=3)
    asked = [problem.instruction for problem in loaded.tests["math"]]
    assert asked == [row(i)["instruction"] for i in range(15, 20)]
    assert len(loaded.train) == 12
    assert not {p.instruction for p in loaded.train + loaded.validation} & set(asked)
    with pytest.raises(InputError, match="test set"):
        layout.load(train=("math",), tests=("math",))


def test_a_set_is_trained_on_once_however_it_is_written(layout):
    layout.write("ft-training_set/math.json", [row(i) for i in range(20)])
    twice = layout.load(train=("math", "MATH"), validation=3)
    assert len(twice.train) + len(twice.validation) == 20


def test_held_out_rows_need_answers_that_can_be_compared(layout):
    layout.write("ft-training_set/math.json", [row(i) | {"answer": "17 legs"} for i in range(9)])
    loaded = layout.load(train=("math",), tests=("math",), held_out=5, validation=1)
    with pytest.raises(InputError, match=r"test row 0 of math .* has the answer '17 legs'"):
        loaded.split("test")


@pytest.mark.parametrize("trained", [True, False])
def test_held_out_rows_replace_the_test_file_of_a_set_that_is_trained_on(layout, trained):
    layout.write("dataset/SVAMP/train.json", [row(i) for i in range(20)])
    asked = layout.load(train=("svamp",), trained=trained, held_out=5, validation=3).tests["SVAMP"]
    assert [p.instruction for p in asked] == [row(i)["instruction"] for i in range(15, 20)]
    others = layout.load(trained=trained, held_out=5, validation=3).tests["SVAMP"]
    assert not {p.instruction for p in others} & {p.instruction for p in asked}


def test_validation_rows_are_those_of_train_test_split_with_seed_42(layout):
    # datasets.Dataset.from_list([{}] * 20).train_test_split(test_size=5, shuffle=True, seed=42)
    rows = [row(i) for i in range(20)]
    rows[3]["output"] = ""  # part of the split, but not trained on
    layout.write("ft-training_set/math.json", rows)
    loaded = layout.load(validation=5)
    numbers = sorted(int(p.instruction.split()[2]) for p in loaded.validation)
    assert numbers == [7, 9, 12, 14, 15]
    assert len(loaded.train) == 14


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"\xef\xbb\xbf" + json.dumps([row()]).encode(), [row()]),  # byte order mark
        (json.dumps([row()], indent=1).replace("\n", "\r\n").encode(), [row()]),
        (gold(2, 2.5), gold("2", "2.5")),
        ([row(), row()], [row(), row()]),
        ([row(input=None, output=None)], [row(input="", output="")]),
        (gold("9" * 300), gold("9" * 300)),
        (gold(0, 1e-05), gold("0", "0.00001")),
        ([row(input=0, output=0.0)], [row(input="0", output="0.0")]),
        ([row(input=False, output=True)], [row(input="false", output="true")]),
        ("\n".join(map(json.dumps, [row(), row()])).encode(), [row(), row()]),
    ],
)
def test_an_unusual_file_is_read(layout, content, rows):
    layout.write("dataset/SVAMP/test.json", content)
    found = layout.load(train=()).tests["SVAMP"]
    assert [{key: getattr(p, key) for key in row()} for p in found] == rows


MATH, SVAMP = "ft-training_set/math.json", "dataset/SVAMP/test.json"
LARGE = json.dumps([row(answer=0)]).replace("0}", "1" * 5000 + "}").encode()


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (MATH, b"not json", "math.json is not JSON"),
        (MATH, b'{"a": 1}\n{', "math.json, row 1 is not JSON"),
        (MATH, [], "has no rows"),
        (MATH, {"a": 1}, "must contain a list"),
        (MATH, [row(0), 3], "row 1: expected a JSON object, got int"),
        (MATH, [row(0), {"output": "1"}], "row 1: lacks instruction"),
        (MATH, [row(output=None)], "row 0: lacks output"),
        (MATH, [row(output="")], "output of every row is empty"),
        (SVAMP, json.dumps([row()]).encode()[:-9], "is not JSON"),
        (SVAMP, b"[" * 100_000, "is not JSON"),
        (SVAMP, LARGE, "is not JSON"),
        (SVAMP, '[{"instruction": "caf\xe9"}]'.encode("latin-1"), "is not UTF-8"),
        (SVAMP, [{ESCAPE: 1}], "row 0: lacks instruction"),
        (SVAMP, [row(instruction=None)], "row 0: instruction is null"),
        (SVAMP, [row(instruction=["x"])], "row 0: instruction must be text"),
        (SVAMP, [row(input={"a": 1})], "row 0: input must be text"),
        (SVAMP, b'[{"instruction": "\\ud800", "answer": "1"}]', "row 0: instruction is not valid"),
        (SVAMP, gold(None), "row 0: answer is null"),
        (SVAMP, gold(["2"]), "row 0: answer must be text or a number"),
        (SVAMP, gold(""), "row 0: the answer '' is not a plain number"),
        (SVAMP, gold(ESCAPE), r"the answer '\\x1b\]0;owned"),
        (SVAMP, gold("B"), "row 0: the answer 'B' is not a plain number"),
        (SVAMP, gold(float("nan")), "row 0: the answer 'nan' is not a plain number"),
        *(
            (SVAMP, gold("2", answer), f"row 1: the answer '{answer}' is not a plain number")
            for answer in ("1e999", "3e2", "1_000", ".5", "-.25", "3,5", "1.000,50", "1" * 400)
        ),
        ("dataset/AQuA/test.json", gold("B", "2.0"), "AQuA.*row 1: the answer '2.0' is not a l"),
        ("dataset/AQuA/test.json", gold("F"), "'F' is not a letter A to E"),
        ("dataset/new/test.json", gold("1", "B"), "row 1: the answer 'B' is not a plain number"),
        ("dataset/new/test.json", gold("yes"), "row 0: the answer 'yes' is not a plain number"),
        ("dataset/new/test.json", gold("true", "answer1"), "row 1.*one of true, false"),
        ("dataset/piqa/test.json", gold("answer1"), "piqa.*is not one of solution1, solution2"),
        ("dataset/social_i_qa/test.json", gold("answer4"), "'answer4' is not one of answer1"),
    ],
)
def test_a_bad_file_is_refused_with_its_row(layout, name, rows, message):
    layout.write(name, rows)
    with pytest.raises(InputError, match=message) as raised:
        layout.load(tests=[name.split("/")[1] if name.startswith("dataset") else "SVAMP"])
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": ["nope"]}, "no training set 'nope'. Searched: .*ft-training_set/nope.json"),
        ({"tests": ["SVAM"]}, "Did you mean SVAMP"),
        ({"tests": []}, "data.tests is empty"),
        ({"validation": 4}, "validation=4 leaves no rows"),
        ({"tests": ["math"], "held_out": 4}, "held_out=4 leaves no rows of math .* has 4"),
        ({"limit": 0}, "data.limit must be at least 1"),
        ({"train": ["gsm8k"]}, "data.gsm8k=PATH"),
        *(
            ({kind: [name]}, f"{what} .*: give the name of a set")
            for kind, what in (("train", "training set"), ("tests", "test set"))
            for name in ("../dataset/SVAMP", "/etc/passwd", "..", "a/b", "x" * 300, "\0")
        ),
    ],
)
def test_bad_settings_are_refused(layout, options, message):
    with pytest.raises(InputError, match=message):
        layout.load(**options)


@pytest.mark.parametrize(
    ("train", "root", "message"),
    [([], ".", r"data\.train is empty"), (["x"], None, r"data\.root=PATH")],
)
def test_missing_settings_are_refused_with_what_to_type(train, root, message):
    with pytest.raises(InputError, match=message):
        load_problems(DataSettings("llm_adapters", train, ["SVAMP"], root=root), trained=True)
