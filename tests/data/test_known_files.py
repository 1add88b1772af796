import json

from bench.data.known_files import compare
from bench.data.problems import DataSettings
from bench.data.sources import load_problems

MAWPS = "c1a708979cbf2b3d" + "0" * 48


def test_a_test_file_is_known_by_its_hash_whatever_the_case_of_its_folder():
    assert compare({"dataset/mawps/test.json": MAWPS, "dataset/MAWPS/test.json": MAWPS}) == {
        "dataset/mawps/test.json": "the paper's file",
        "dataset/MAWPS/test.json": "the paper's file",
    }


def test_another_file_of_that_name_is_told_from_it():
    assert compare({"dataset/SVAMP/test.json": MAWPS}) == {
        "dataset/SVAMP/test.json": "another file"
    }


def test_a_file_whose_hash_is_not_at_hand_is_not_known():
    names = ("ft-training_set/math_10k.json", "dataset/hellaswag/test.json", "train.jsonl")
    assert set(compare(dict.fromkeys(names, MAWPS)).values()) == {"not known"}


def test_the_public_files_are_the_papers(shared_data):
    root = shared_data / "llm_adapters"
    tests = ["AQuA", "SVAMP", "mawps", "boolq", "piqa", "social_i_qa", "openbookqa"]
    settings = DataSettings("llm_adapters", ["openbookqa"], tests, root=str(root))
    marks = compare(load_problems(settings, trained=True).files)
    assert marks.pop("dataset/openbookqa/train.json") == "not known"
    assert len(marks) == len(tests) and set(marks.values()) == {"the paper's file"}


def test_a_change_to_a_public_file_shows(shared_data, tmp_path):
    rows = json.loads((shared_data / "llm_adapters/dataset/mawps/test.json").read_text())
    path = tmp_path / "dataset" / "mawps" / "test.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(rows[1:]))
    settings = DataSettings("llm_adapters", [], ["mawps"], root=str(tmp_path))
    assert compare(load_problems(settings, trained=False).files) == {
        "dataset/mawps/test.json": "another file"
    }
