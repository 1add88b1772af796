"""A store with many runs, made in seconds: what a report costs is measured on it.

    python -m tests.report.many_runs FOLDER 5000
    python bench/run.py action=report tracking.folder=FOLDER

The rows go straight into the store's tables, by MLflow's own description of them and in batches:
through its client 5,000 runs take half an hour.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.identity import RESULT_VERSION
from bench.tracking.record import flat, metrics, tags
from bench.tracking.store import Store
from tests.report.score_runs import finished, score

SETS = {"mawps": "MAWPS", "SVAMP": "SVAMP", "gsm8k": "GSM8K", "AQuA": "AQuA"}
LAYERS = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
ADAPTER = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": LAYERS}
OPTIONS: dict[str, dict[str, Any]] = {  # a part of what conf/method/ has
    "none": {},
    "lora": ADAPTER,
    "dora": ADAPTER | {"use_dora": True},
    "hyplora": ADAPTER | {"variant": "rotation"},
    "series": {"placement": "series", "bottleneck_size": 32},
    "parallel": {"placement": "parallel", "bottleneck_size": 32},
    "prefix": {"num_virtual_tokens": 16},
}
RATES = {"lora": 3e-3, "dora": 3e-3, "hyplora": 3e-2, "series": 1e-2, "parallel": 1e-2}
CURVATURES = (0.1, 0.5, 1.0, 2.0)
ROWS = [(m, None) for m in OPTIONS if m not in ("hyplora", "none")]
ROWS += [("hyplora", k) for k in CURVATURES]
BATCH = 200
EXPERIMENT = "hyplora-bench"


def made_up(count: int, seeds: int = 25) -> Iterator[dict[str, Any]]:
    """Records of grids over method, curvature and seed, under two protocols for base after base."""
    points = list(itertools.product(("fast", "paper"), range(seeds), ROWS))
    for number in range(count):
        base, place = divmod(number, len(points))
        protocol, seed, (method, curvature) = points[place]
        yield run_of(method, seed, curvature, model=f"base-{base}", protocol=protocol)


def run_of(
    method: str = "lora",
    seed: int | None = 0,
    curvature: float | None = None,
    model: str = "tiny",
    protocol: str = "fast",
    layers: int = 20,
    steps: int = 100,
    items: int = 150,
    sets: Mapping[str, str] = SETS,
    **changes: Any,
) -> dict[str, Any]:
    """A record whose figures follow from the arguments.

    `model` and `protocol` also stand for contents; `changes` are keys of the record, or some of
    `train` and `options`.
    """
    seed = None if method == "none" else seed
    told = json.dumps([method, seed, curvature, model, protocol, items, changes], sort_keys=True)
    identity = hashlib.sha256(told.encode()).hexdigest()
    draw = random.Random(identity)
    outcomes = {key: "".join("01"[draw.random() < 0.6] for _ in range(items)) for key in sets}
    options = OPTIONS.get(method, ADAPTER) | ({"curvature": curvature} if curvature else {})
    options |= changes.pop("options", {})
    rate = 3e-1 if method == "prefix" else RATES.get(method, 3e-2)
    other = 3e-2 if method == "prefix" else 3e-4
    train = {
        "lr": rate if model == "tiny" else other, "epochs": 2.5, "batch_size": 16,
        "micro_batch_size": 4, "devices": 1, "curvature_lr_factor": 1.0, "weight_decay": 0.0,
        "warmup": 0.06, "decay": "linear", "gradient_clip": 1.0, "train_on_inputs": False,
        "precision": "32-true", "validations": 4, "checkpoint_minutes": 1.0, "keep": "last",
    } | changes.pop("train", {})  # fmt: skip
    parameters = {"trainable": 147_456 if seed is not None else 0, "total": 2_017_000}
    training: dict[str, Any] = {"parameters": parameters}
    if seed is not None:
        training |= {
            "steps": steps, "padding": 0.07,
            "losses": [[step, 3.0 * draw.random()] for step in range(steps)],
            "validation": [[steps * i // 4, draw.random()] for i in range(1, 5)],
        }  # fmt: skip
    if curvature is not None:
        gate = {"module": "q_proj", "mean": 1.0, "median": 1.0, "variation": 0.1, "largest": 2.0}
        gates = [
            gate | {"layer": f"model.layers.{i}.self_attn.q_proj", "clamped": 0.0, "smallest": 0.5}
            for i in range(layers)
        ]
        training["gates"] = {"start": gates, "end": gates}
    scores = {key: score(text, sets[key]) for key, text in outcomes.items()}
    average = sum(found["accuracy"] for found in scores.values()) / len(scores)
    prompts = {"train_prompt": f"{protocol} {{instruction}}", "max_new_tokens": 256}
    hashes = {"base": f"{model} contents", "tests": f"{items} rows"}
    made = {
        "identity": identity, "run_id": identity[:32], "result_version": RESULT_VERSION,
        "model": model, "protocol": protocol, "scores": scores,
        "averages": {"micro": average, "macro": average}, "parameters": parameters,
        "training": training, "options": options, "train": train,
        "config": {"method": {"name": method, "options": options}, "train": train,
                   "protocol": {"name": protocol} | prompts, "model": {"dtype": "auto"}},
        "hashes": hashes | ({"train": "rows"} if seed is not None else {}),
    }  # fmt: skip
    return finished(method, seed, (), curvature, {}, **made | changes)


def write_runs(folder: Path, records: Iterable[Mapping[str, Any]], began: float = 1.7e9) -> None:
    """Write finished runs into the sqlite store of a results folder, a minute each since `began`.

    Each gets a run id of its own; `parent` is the sweep that it belongs to.
    """
    from mlflow.store.tracking.dbmodels import models
    from sqlalchemy import create_engine, insert

    store = Store(folder, None, EXPERIMENT)
    place = folder.resolve() / "artifacts"
    engine = create_engine(store.uri)
    pending: dict[Any, list[dict[str, Any]]] = {
        models.SqlRun: [], models.SqlTag: [], models.SqlParam: [], models.SqlLatestMetric: [],
        models.SqlMetric: [],
    }  # fmt: skip

    def flush() -> None:
        with engine.begin() as connection:
            for table, rows in pending.items():
                if rows:
                    connection.execute(insert(table.__table__), rows)
                rows.clear()

    for number, given in enumerate(records):
        run_id = hashlib.sha256(f"{given['identity']} {began + number}".encode()).hexdigest()[:32]
        record = {**given, "run_id": run_id}
        start = round((began + 60 * number) * 1000)
        pending[models.SqlRun].append(
            {
                "run_uuid": run_id, "name": f"{record['method']} seed {record['seed']}",
                "source_type": "UNKNOWN", "source_name": "", "entry_point_name": "",
                "user_id": "test", "status": "FINISHED", "start_time": start,
                "end_time": start + 60_000, "source_version": "", "lifecycle_stage": "active",
                "artifact_uri": (place / run_id / "artifacts").as_uri(),
                "experiment_id": int(store.experiment),
            }
        )  # fmt: skip
        named = tags(record) | {"identity": record["identity"], "began": str(start / 1000)}
        if "parent" in record:
            named["mlflow.parentRunId"] = record["parent"]
        found = {"run_uuid": run_id}
        pending[models.SqlTag] += [found | {"key": k, "value": v} for k, v in named.items()]
        params = flat(record["config"])
        pending[models.SqlParam] += [found | {"key": k, "value": str(v)} for k, v in params.items()]
        values = [
            found | {"key": k, "value": v, "step": step, "timestamp": start, "is_nan": False}
            for k, v, step in metrics(record)
        ]
        pending[models.SqlMetric] += values
        pending[models.SqlLatestMetric] += list({row["key"]: row for row in values}.values())
        artifacts = place / run_id / "artifacts"
        artifacts.mkdir(parents=True)
        (artifacts / "record.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
        if number % BATCH == BATCH - 1:
            flush()
    flush()
    engine.dispose()


if __name__ == "__main__":
    start = time.perf_counter()
    write_runs(Path(sys.argv[1]), made_up(int(sys.argv[2])))
    print(f"{sys.argv[2]} runs in {time.perf_counter() - start:.0f} s -> {sys.argv[1]}")
