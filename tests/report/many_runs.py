"""A store with many runs, made in seconds: what a report costs is measured on it.

    python -m tests.report.many_runs FOLDER 5000
    python bench/run.py action=report tracking.folder=FOLDER

The rows go straight into the store's tables, by MLflow's own description of them and in batches:
through its client 5,000 runs take half an hour.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.tracking.record import flat, metrics, tags
from bench.tracking.store import Store

METHODS = ("lora", "dora", "hyplora", "series", "parallel", "prefix")
SETS = {"mawps": "MAWPS", "SVAMP": "SVAMP", "gsm8k": "GSM8K", "AQuA": "AQuA"}
CURVATURES = (0.1, 0.5, 1.0, 2.0)
BATCH = 200
EXPERIMENT = "hyplora-bench"


def made_up(count: int, layers: int = 20, steps: int = 100, items: int = 150) -> Iterator[dict]:
    """Records as runs leave them, of grids over method, curvature and seed on one base after another.

    Args:
        count: how many.
        layers: that a gate was measured in.
        steps: of fine-tuning.
        items: of each set.
    """
    rows = [(m, None) for m in METHODS if m != "hyplora"] + [("hyplora", k) for k in CURVATURES]
    points = list(itertools.product(range(5), rows))
    for number in range(count):
        base, place = divmod(number, len(points))
        seed, (method, curvature) = points[place]
        yield run_of(method, seed, curvature, f"base-{base}", layers, steps, items)


def run_of(
    method: str,
    seed: int,
    curvature: float | None = None,
    model: str = "tiny",
    layers: int = 20,
    steps: int = 100,
    items: int = 150,
) -> dict[str, Any]:
    """One record; the figures follow from the arguments."""
    draw = random.Random(f"{method} {seed} {curvature} {model}")
    outcomes = {key: [int(draw.random() < 0.6) for _ in range(items)] for key in SETS}
    options: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
    if curvature is not None:
        options["curvature"] = curvature
    train = {
        "lr": 0.003, "epochs": 2.5, "batch_size": 16, "micro_batch_size": 4, "devices": 1,
        "warmup": 0.06, "decay": "linear", "precision": "32-true", "validations": 4,
        "checkpoint_minutes": 1.0, "keep": "last",
    }  # fmt: skip
    identity = hashlib.sha256(f"{method} {seed} {curvature} {model}".encode()).hexdigest()
    protocol = {"name": "fast", "train_prompt": "Q: {instruction}", "max_new_tokens": 256}
    gate = {"module": "q_proj", "mean": 1.0, "median": 1.0, "variation": 0.1, "largest": 2.0}
    gates = [
        gate | {"layer": f"model.layers.{i}.self_attn.q_proj", "clamped": 0.0, "smallest": 0.5}
        for i in range(layers)
    ]
    training: dict[str, Any] = {
        "steps": steps, "padding": 0.07, "parameters": {"trainable": 147_456, "total": 2_017_000},
        "losses": [[step, 3.0 * draw.random()] for step in range(steps)],
        "validation": [[steps * i // 4, draw.random()] for i in range(1, 5)],
    }  # fmt: skip
    if curvature is not None:
        training["gates"] = {"start": gates, "end": copy.deepcopy(gates)}
    scores = {
        key: {
            "label": SETS[key], "chance": None, "rule": "number/1", "n": items, "too_long": 0,
            "correct": sum(right), "accuracy": 100 * sum(right) / items, "format_rate": 99.0,
            "outcomes": "".join(map(str, right)), "tokens": 50 * items,
            "majority": {"answer": "7", "accuracy": 3.0},
        }
        for key, right in outcomes.items()
    }  # fmt: skip
    micro = sum(score["accuracy"] for score in scores.values()) / len(scores)
    return {
        "identity": identity, "run_id": "", "method": method, "curvature": curvature, "seed": seed,
        "model": model, "published_base": None, "data": "synthetic", "split": "test",
        "protocol": "fast", "scores": scores, "averages": {"micro": micro, "macro": micro},
        "parameters": training["parameters"], "seconds": {"finetune": 25.0, "evaluate": 5.0},
        "rows": {"train": 640, "train_too_long": 0}, "training": training, "overlap": None,
        "options": options, "train": train, "device": "AMD EPYC, 1 threads",
        "config": {"method": {"name": method, "options": options}, "train": train,
                   "protocol": protocol, "model": {"name": model, "dtype": "auto"}},
        "hashes": {"base": f"{model}-contents", "tests": "t" * 64, "train": "r" * 64},
        "versions": {"torch": "2.13.0"}, "git": {"commit": "a" * 40, "dirty": False},
    }  # fmt: skip


def write_runs(folder: Path, records: Iterable[Mapping[str, Any]], began: float = 1.7e9) -> None:
    """Write finished runs into the sqlite store of a results folder.

    Args:
        folder: of results; store and experiment are made where they are not there.
        records: of the runs; each gets a run id of its own.
        began: when the first began, in seconds since the epoch; each takes a minute.
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
        run_id = hashlib.md5(f"{given['identity']} {began} {number}".encode()).hexdigest()
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
