import json

import pytest

from bench.data.problems import Problem
from bench.embeddings.deltas import Tuned
from bench.embeddings.study import Sources, StudySettings, study
from bench.errors import InputError

SMALL = {"points": 10, "samples": 1, "replicas": 100, "power_replicas": 5, "words": 20}
TEXTS = (
    "Mary has 3 apples and Tom has 4 apples. How many apples do they have?",
    "Tom has 4 more books than Mary. Mary has 2 books. How many books has Tom?",
    "There are 7 coins in the bag.",
)


def problems(task, texts=TEXTS):
    return [Problem(task, text, "", "", "1") for text in texts]


@pytest.fixture(scope="module")
def report(tiny):
    rows = {"mawps": problems("mawps"), "toys": problems("toys", TEXTS[:2])}
    sources = Sources("toys", rows, rows, ["Mary counts apples.", "Tom counts coins."])
    facts = {"model": "LoRA", "method": "lora", "curvature": None, "run": "0123456789ab"}
    again = Tuned(facts, lambda: tiny[0])
    return study(*tiny, sources, [again], StudySettings(**SMALL))


def test_texts_are_counted_set_by_set_and_together(report):
    text = json.dumps(report, allow_nan=False)  # plain data
    assert json.dumps(json.loads(text)) == text
    sets = {row["set"]: row for row in report["frequency"]}
    assert list(sets) == ["mawps", "toys", "together", "pretraining"]
    assert sets["together"]["tokens"] == sets["mawps"]["tokens"] + sets["toys"]["tokens"]
    assert sets["mawps"]["label"] == "MAWPS" and sets["toys"]["label"] == "toys"
    for row in sets.values():
        assert sum(count * types for count, types in row["counts"]) == row["tokens"]
        assert sum(types for _, types in row["counts"]) == row["types"]


def test_exactly_the_types_that_occur_have_a_row(report):
    tokens = report["tokens"]
    assert len(tokens) == next(r for r in report["frequency"] if r["set"] == "together")["types"]
    assert min(token["count"] for token in tokens) == 1
    apples = next(token for token in tokens if token["text"] == " apples")
    assert apples["word"] and apples["content"] and apples["pretraining"] == 1
    seen = {token["id"] for token in tokens}
    assert report["unseen"]["tokens"] <= report["model"]["vocabulary"] - len(seen)


def test_prompts_and_layers_are_measured_of_the_base_and_after_fine_tuning(report):
    assert {row["label"] for row in report["prompts"]} == {"MAWPS", "toys"}
    assert all(len(row["tokens"]) == len(row["embeddings"]) for row in report["prompts"])
    models = [(row["model"], row["method"], row["run"]) for row in report["layers"]]
    assert models == [("base model", "none", None), ("LoRA", "lora", "0123456789ab")]
    assert {row["model"] for row in report["hidden"]} == {"base model", "LoRA"}
    base, lora = (
        [row["states"] for row in report["hidden"] if row["model"] == name]
        for name in ("base model", "LoRA")
    )
    assert base == lora  # it is the same model


def test_the_disk_has_whole_words(report):
    words = {word["text"] for word in report["disk"]["words"]}
    assert 0 < len(words) <= SMALL["words"] and all(word.isalpha() for word in words)


def test_a_prompt_that_is_too_long_is_left_out_and_counted(tiny):
    rows = {"mawps": problems("mawps", [TEXTS[2], TEXTS[0]])}
    sources = Sources("toys", rows, rows, None)
    found = study(*tiny, sources, [], StudySettings(**SMALL, longest=12))
    assert found["data"]["prompts"]["mawps"] == {"label": "MAWPS", "prompts": 1, "too_long": 1}
    assert [row["set"] for row in found["frequency"]] == ["mawps"]
    rows = rows | {"gsm8k": problems("gsm8k", [TEXTS[0]])}
    found = study(*tiny, Sources("toys", rows, rows, None), [], StudySettings(**SMALL, longest=12))
    assert found["data"]["prompts"]["gsm8k"] == {"label": "GSM8K", "prompts": 0, "too_long": 1}
    with pytest.raises(InputError, match=r"mawps has at most 5 tokens: raise action\.longest"):
        study(*tiny, sources, [], StudySettings(**SMALL, longest=5))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": "test"}, "Did you mean tests"),
        ({"prompts": 0}, "action.prompts must be at least 1, got 0"),
        ({"longest": 3}, "action.longest must be at least 4"),
        ({"replicas": 10}, "action.replicas must be at least 100"),
        ({"seed": -1}, "action.seed must be at least 0"),
    ],
)
def test_sizes_out_of_range_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        StudySettings(**given)
