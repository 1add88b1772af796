"""`action=embeddings` from the command line."""

import pytest

from bench.tracking.contents import read_contents
from bench.tracking.store import Store

SMALL = (
    "action=embeddings",
    "action.prompts=2",
    "action.points=10",
    "action.samples=1",
    "action.replicas=100",
    "action.power_replicas=0",
    "data.tests=[mawps]",
    "data.train=[mawps]",
    "data.test_size=6",
    "data.train_size=6",
    "data.validation=2",
)


def test_a_study_is_printed_written_and_kept(inline, tmp_path, sketched):
    done = inline(*SMALL, "action.rows=train")
    assert done.code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "Token frequency" in text and "make reproduce-table2" in text
    results = tmp_path / "results"
    store = Store(results, None, "hyplora-bench")
    ((name, measured),) = read_contents(store).measurements.items()
    report = measured.content
    assert report["model"]["name"] == "tiny" and report["device"]
    assert report["data"]["rows"] == "train" and report["data"]["sets"]["mawps"]["rows"] == 8
    assert [row["set"] for row in report["frequency"]] == ["mawps", "pretraining"]
    # The committed files are those of the default settings.
    assert name != "embeddings" and (results / "figures" / f"{name}_norms.png").is_file()
    assert not list(results.glob("*/embeddings[._]*"))
    (kept,) = store.client.search_runs([store.experiment], "tags.kind = 'embeddings'")
    assert kept.data.metrics["gamma/mawps"] == pytest.approx(report["frequency"][0]["gamma"])
    assert "delta/prompts/gaussian/euclidean/first/mawps" in kept.data.metrics
    assert "delta/hidden/states/euclidean/all/mawps/base model" in kept.data.metrics
    files = store.client.list_artifacts(kept.info.run_id, "report")
    assert {f"report/{name}.md", f"report/{name}_norms.svg"} <= {e.path for e in files}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["action.prompts=many"], "action.prompts must be a whole number"),
        (["action.adapters=[/nowhere]"], "/nowhere has no adapter_config.json"),
        (["action.adapters=lora"], "action.adapters must be a list"),
        (["action.rows=train", "data.train=[]"], "give data.train=[NAME]"),
        (["+action.prompt=3"], "unknown key in action 'prompt'. Did you mean prompts"),
        (["model=local", "model.path=/nowhere"], "no such folder"),
    ],
)
def test_bad_input_ends_before_a_model_is_loaded(inline, monkeypatch, arguments, message):
    monkeypatch.setattr("bench.models.shared.load_base", None)
    done = inline(*SMALL, *arguments)
    assert done.code == 2 and message in done.stderr
