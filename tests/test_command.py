"""The command line: single runs, grids, sweeps and bad input."""

import json
import os
import signal
import subprocess
import sys

import pytest

from bench.tracking.store import Store
from tests.helpers import refused

HERE = "hydra/launcher=basic"  # in this process


def test_help_answers_at_once():
    before = os.times()
    result = subprocess.run([sys.executable, "bench/run.py", "--help"], capture_output=True)
    after = os.times()
    assert result.returncode == 0 and b" hyplora," in result.stdout
    # Of a processor, so that the machine may do other things meanwhile.
    assert after.children_user - before.children_user < 2.0


def test_the_command_line_imports_nothing_heavy():
    script = (
        "import sys, bench.run\n"
        "heavy = {'torch', 'transformers', 'peft', 'lightning', 'mlflow', 'pandas'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_sigterm_ends_a_run_as_ctrl_c_does(inline, monkeypatch):
    monkeypatch.setattr("bench.run.run_action", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    result = inline("method=none")
    assert result.code == 143 and result.stderr.startswith("ended by SIGTERM; the same command")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method=hyplorra"], "unknown method 'hyplorra'. Did you mean hyplora"),
        (["method=null"], "a group takes a name"),
        (["method.module=../evil"], "has no module '../evil'"),
        (["+sweep=tabel2"], "unknown sweep 'tabel2'. Did you mean table2"),
        (["sed=1"], "sed"),
        (["model=local", "model.path=/nowhere"], "no such folder"),
        (["adapter=/nowhere"], "no adapter_config.json"),
        (["method=lora", "+method.rr=4"], "rr"),
        (["+sweep=commonsense"], "needs data.root=PATH"),
        (["model=local"], "model.path"),
        (["-m", "method=lora,nope"], "nope"),
        (["-m", "method=hyplora", "curvature=1,-1"], "curvature=-1: curvature must be a positive"),
        (["-m", "hydra.sweeper.max_retries=-1"], "a number from 0 to 10"),
        (["+sweep=curvature", "hydra/sweeper/sampler=gird"], "Did you mean grid"),
        (["+sweep=curvature", "train.validations=0"], "validation_loss: there is none"),
        (["+sweep=tuned", "method=lora,hyplora_boost"], "unknown method with a space"),
        (["-m", "hydra/launcher=joblob"], "Did you mean joblib"),
        (["action=efficiency", "action.file=/nowhere"], "can't be read"),
        (["action=efficiency", "action.evaluation_problems=-1"], "must be at least 0"),
        (["-m", "hydra.launcher.n_jobs=2"], "give hydra/launcher=processes"),
        (["adapter=a/lr=0.001,r=8"], """quote the value, 'adapter="a/lr=0.001,r=8"'"""),
        (["data.tests=[mawps,größe]"], """quote the value, 'data.tests=[mawps,"größe"]'"""),
        (["data.tests=[mawps"], "can't be read: quote the value"),
        (["adapter=a,b"], """quote the value, 'adapter="a,b"'"""),
        (["model=local", f"model.path=/{'x' * 300}"], "name too long"),
        (["+sweep=table2", f"table.name={'x' * 300}"], "table.name has 300 characters"),
        (["tracking.uri=postgresql://u:s3cret@/x#"], "u:***@"),
        (["+sweep=curvature", "hydra.sweeper.storage=oracle://u:s3cret@h/d"], "u:***@"),
    ],
)
def test_bad_input_ends_with_code_2_a_message_and_nothing_written(
    inline, tmp_path, arguments, message
):
    result = inline(*arguments)
    refused(result, message, results=tmp_path / "results")
    assert result.stderr.startswith("error: ") and "s3cret" not in result.stderr + result.stdout


def test_a_grid_runs_what_is_different_once_and_the_next_call_repeats_nothing(
    inline, tmp_path, small
):
    grid = ("-m", "method=hyplora,lora", "curvature=0.1,1.0", *small)
    first = inline(*grid)
    assert first.code == 0, first.stderr
    assert "4 combinations over curvature, method, 3 different runs" in first.stdout
    assert "3 different runs: 3 done now" in first.stdout
    assert "HypLoRA (K=0.1)" in first.stdout and "LoRA" in first.stdout
    again = inline(*grid)
    assert "3 different runs: 0 done now, 3 cached" in again.stdout
    assert len(list((tmp_path / "results" / "runs").iterdir())) == 3


def test_a_measurement_made_elsewhere_is_reported_on(inline, tmp_path, measurement, sketched):
    elsewhere = measurement("efficiency") | {"device": "another"}
    (tmp_path / "measured.json").write_text(json.dumps(elsewhere))
    result = inline("action=efficiency", f"action.file={tmp_path / 'measured.json'}")
    assert result.code == 0, result.stderr
    assert "LoRA again" in result.stdout
    (table,) = (tmp_path / "results" / "tables").glob("efficiency*.md")
    assert table.stem != "efficiency"  # the name of the published measurement, of another device
    store = Store(tmp_path / "results", None, "hyplora-bench")
    (kept,) = store.client.search_runs([store.experiment], "tags.kind = 'efficiency'")
    (case,) = (c for c in elsewhere["cases"] if (c["case"], c["dtype"]) == ("tiny", "float32"))
    expected = case["works"]["decode 1"]["hyplora"]["ratio"]
    assert kept.data.metrics["ratio/tiny_float32/decode 1/hyplora"] == expected
    files = {file.path for file in store.client.list_artifacts(kept.info.run_id)}
    assert "efficiency.json" in files


def test_a_sweep_of_other_settings_has_files_of_its_own_and_rows_for_its_settings(
    inline, tmp_path, small, sketched
):
    result = inline("+sweep=table2", "seed=0", "method=lora", "method.r=2,4", HERE, *small)
    assert result.code == 0, result.stderr
    tables = tmp_path / "results" / "tables"
    (path,) = tables.glob("*.md")
    assert path.stem.startswith("table2-")  # `table2` is the committed one
    ends = (".md", ".csv", ".json", ".tex")
    assert {each.name for each in tables.iterdir()} == {path.stem + end for end in ends}
    assert "camera-ready's Tables 3 and 8" in path.read_text() and str(path) in result.stdout
    scores = json.loads(path.with_suffix(".json").read_text())["tables"]["scores"]
    names = [row["names"] for row in scores["rows"]]
    assert names[:2] == [["LoRA (r 2)"], ["LoRA (r 4)"]]


def test_one_failing_run_leaves_the_others_their_results(inline, tmp_path, small):
    result = inline("-m", "method=none,lora", "+method.target_modules=[nonsense]", *small)
    assert result.code == 1
    assert "1 failed" in result.stdout and "base model" in result.stdout
    assert "nonsense" in result.stderr and result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr and "Error executing job" not in result.stderr
    assert len(list((tmp_path / "results" / "runs").glob("*/record.json"))) == 1


def test_force_runs_each_different_run_of_a_grid_once(inline, small):
    grid = ("-m", "method=none", "seed=0,1", *small)
    inline(*grid)
    forced = inline(*grid, "force=true")
    assert "1 different runs: 1 done now, 0 cached" in forced.stdout


def test_the_overlap_of_each_training_set_with_each_test_set_is_shown(inline):
    result = inline("action=overlap", "data.train=[mawps,SVAMP]", "data.tests=[gsm8k,AQuA]")
    assert result.code == 0, result.stderr
    for text in ("gsm8k (150)", "AQuA (150)", "verbatim", "all together", "13 words"):
        assert text in result.stdout
    assert "training rows are also test rows (exact or masked) and are dropped" in result.stdout


def test_hydra_prints_and_writes_no_password(inline, tmp_path, small):
    secret = "tracking.uri=http://u:s3cret@127.0.0.1:1"
    assert "s3cret" not in inline("--cfg", "job", secret).stdout
    hydra = (f"hydra.run.dir={tmp_path}", "hydra.output_subdir=.hydra", "hydra/job_logging=default")
    result = inline(*hydra, secret, *small)
    assert result.code == 2 and "u:***@127.0.0.1" in result.stderr
    written = [path.read_text() for path in (tmp_path / ".hydra").iterdir()]
    assert len(written) == 3 and "s3cret" not in str(written) + str(result)
