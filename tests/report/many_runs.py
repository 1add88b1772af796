"""Records whose figures follow from their settings, and a store with any number of them.

The rows go straight into the store's tables, by MLflow's own description of them and in batches:
through its client 5,000 runs take half an hour.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.identity import RESULT_VERSION
from bench.tracking.record import flat, metrics, tags
from bench.tracking.store import Store
from tests.report.score_runs import finished, score

SETS = {"mawps": "MAWPS", "SVAMP": "SVAMP", "gsm8k": "GSM8K", "AQuA": "AQuA"}
LAYERS = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
ROWS = [(method, None) for method in ("lora", "dora", "series", "parallel", "prefix")]
ROWS += [("hyplora", k) for k in (0.1, 0.5, 1.0, 2.0)]
TRAIN = {
    "lr": 0.01, "epochs": 2.5, "batch_size": 16, "micro_batch_size": 4, "devices": 1,
    "precision": "32-true", "validations": 4, "checkpoint_minutes": 1.0, "keep": "last",
}  # fmt: skip
STEPS = 100
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
    items: int = 150,
    **changes: Any,
) -> dict[str, Any]:
    """A record whose figures follow from the arguments.

    `model` and `protocol` also determine contents; `changes` are keys of the record, or some of
    `train` and `options`.
    """
    seed = None if method == "none" else seed
    given = json.dumps([method, seed, curvature, model, protocol, items, changes], sort_keys=True)
    identity = hashlib.sha256(given.encode()).hexdigest()
    draw = random.Random(identity)
    scores = {
        key: score("".join("01"[draw.random() < 0.6] for _ in range(items)), label)
        for key, label in SETS.items()
    }
    options = {"r": 16, "target_modules": LAYERS} if method != "none" else {}
    options |= ({"curvature": curvature} if curvature else {}) | changes.pop("options", {})
    train = TRAIN | changes.pop("train", {})
    training: dict[str, Any] = {}
    if seed is not None:
        training = {
            "steps": STEPS,
            "padding": 0.07,
            "losses": [[step, 3.0 * draw.random()] for step in range(STEPS)],
            "validation": [[STEPS * i // 4, draw.random()] for i in range(1, 5)],
        }
    average = sum(found["accuracy"] for found in scores.values()) / len(scores)
    prompts = {"train_prompt": f"{protocol} {{instruction}}", "max_new_tokens": 256}
    hashes = {"base": f"{model} contents", "tests": f"{items} rows"}
    made = {
        "identity": identity, "run_id": identity[:32], "result_version": RESULT_VERSION,
        "model": model, "protocol": protocol, "scores": scores,
        "averages": {"micro": average, "macro": average}, "training": training,
        "options": options, "train": train,
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
