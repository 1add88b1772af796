"""Data files that lie in a dataset on the hub; no test asks it, what is there is in its cache."""

import json

import pytest

from bench.data.hub import hub_folder
from bench.data.problems import DataSettings
from bench.data.sources import load_problems
from bench.errors import InputError

COMMIT = "0123456789abcdef" * 2 + "01234567"
ROWS = [
    {"instruction": f"What is {i} plus 1?", "input": "", "output": f"{i + 1}", "answer": f"{i + 1}"}
    for i in range(6)
]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no way to the hub itself."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub_folder.cache_clear()
    yield tmp_path
    hub_folder.cache_clear()


def settings(**changes):
    given = {"hub": "someone/math", "revision": COMMIT, "validation": 1} | changes
    return DataSettings("llm_adapters", ["math_10k"], ["SVAMP"], **given)


def test_files_in_the_cache_are_read_without_a_network(cache):
    snapshot = cache / "datasets--someone--math" / "snapshots" / COMMIT
    for name in ("ft-training_set/math_10k.json", "dataset/SVAMP/test.json"):
        (snapshot / name).parent.mkdir(parents=True)
        (snapshot / name).write_text(json.dumps(ROWS))
    loaded = load_problems(settings(), trained=True)
    assert len(loaded.train) == 5 and len(loaded.tests["SVAMP"]) == 6
    assert set(loaded.files) == {"ft-training_set/math_10k.json", "dataset/SVAMP/test.json"}


def test_what_is_not_in_the_cache_is_told_with_what_to_type(cache):
    with pytest.raises(InputError, match=r"someone/math at .* not in the cache .* data\.root=FOLD"):
        load_problems(settings(), trained=True)


@pytest.mark.parametrize("revision", [None, "main", "0123456"])
def test_a_revision_that_moves_is_refused(cache, revision):
    with pytest.raises(InputError, match=r"needs data\.revision=COMMIT"):
        load_problems(settings(revision=revision), trained=True)


def test_an_id_that_is_none_is_refused(cache):
    with pytest.raises(InputError, match="can't be downloaded"):
        load_problems(settings(hub="no id at all"), trained=True)


def test_two_places_are_one_too_many():
    with pytest.raises(InputError, match="two places: give one"):
        settings(root="LLM-Adapters")


@pytest.mark.parametrize(
    ("name", "train", "tests"),
    [
        ("math10k", ["math_10k"], ["mawps", "SVAMP", "gsm8k", "AQuA"]),
        (
            "commonsense170k",
            ["commonsense_170k"],
            [
                *("boolq", "piqa", "social_i_qa", "hellaswag", "winogrande"),
                *("ARC-Easy", "ARC-Challenge", "openbookqa"),
            ],
        ),
    ],
)
def test_the_published_sets_have_a_name(compose, name, train, tests):
    data = compose(f"data={name}", "data.root=LLM-Adapters").data
    assert (data.train, data.tests, data.validation) == (train, tests, 120)


def test_the_command_ends_with_code_2_where_the_hub_cannot_be_had(command, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    result = command(
        "method=none", "data=math10k", "data.hub=someone/math", f"data.revision={COMMIT}"
    )
    assert result.returncode == 2 and "not in the cache" in result.stderr
