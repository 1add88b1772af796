"""Data files in a dataset on the hub, read from its cache without network access."""

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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"someone/math at .* not in the cache .* data\.root=FOLDER"),
        *(({"revision": r}, r"needs data\.revision=COMMIT") for r in (None, "main", "0123456")),
        ({"hub": "no id at all"}, "can't be downloaded"),
        ({"root": "LLM-Adapters"}, "exclude each other: give one"),
    ],
)
def test_bad_settings_and_missing_files_are_refused(cache, changes, message):
    with pytest.raises(InputError, match=message):
        load_problems(settings(**changes), trained=True)
