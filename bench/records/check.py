"""Checks that the identity and the scores of a record follow from its content."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bench.data.problems import Problem
from bench.data.prompts import Protocol
from bench.evaluation.predictions import Prediction
from bench.evaluation.scoring import averages, nll_averages, scores
from bench.report.design import key_of
from bench.report.selection import spec_of
from bench.tracking.record import PRETRAIN
from bench.tracking.schema import incomplete
from bench.tracking.sweeps import SweepRecord

COMPUTED = (
    "n", "correct", "outcomes", "accuracy", "format_rate", "too_long", "majority", "tokens", "nll"
)  # fmt: skip
TIMES = ("began", "ended")  # milliseconds since the epoch
# What invalid content may raise.
ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError)


def check_record(record: Any, predictions: bytes | None) -> None:
    """Check the record of a finished run and its predictions.jsonl; None for a pretraining run.

    Raises:
        ValueError: what is wrong; others of `ERRORS` if it can't be read.
    """
    from bench.identity import identity_of_record

    if wrong := incomplete(record):
        raise ValueError(f"the record {wrong}")
    if not re.fullmatch(r"[0-9a-f]{64}", record["identity"]):
        raise ValueError("its identity is not a sha256")
    if not all(isinstance(record.get(key), int) and record[key] > 0 for key in TIMES):
        raise ValueError(f"it does not say when the run {' and '.join(TIMES)}")
    if identity_of_record(record) != record["identity"]:
        raise ValueError(
            "its identity does not follow from its settings: it was altered, or was made by "
            "another version of the code"
        )
    if record.get("kind") == PRETRAIN:
        training, blocks = record["training"], record["training"]["blocks"]
        size = math.fsum(blocks["bytes"])
        computed = math.fsum(blocks["bits"]) / size
        rounding = 0.0005 * len(blocks["bits"]) / size  # a block's bits have three decimals
        _same("bits per byte", training["bits_per_byte"], computed, rounding)
    elif predictions is None and record["scores"]:
        raise ValueError("its predictions are missing")
    else:
        lines = [Prediction(**json.loads(line)) for line in (predictions or b"").splitlines()]
        _check_scores(record, lines, Protocol(**record["config"]["protocol"]))


def _check_scores(record: Mapping[str, Any], lines: list[Prediction], protocol: Protocol) -> None:
    found = scores(lines, record["scores"], protocol)
    rows = {(line.task, line.index) for line in lines}
    if len(rows) != len(lines) or rows != {(k, i) for k in found for i in range(found[k]["n"])}:
        raise ValueError("it does not have exactly one prediction per row of its test sets")
    if bad := next((line for line in lines if line.nll is not None and not line.nll >= 0), None):
        raise ValueError(f"row {bad.index} of {bad.task} has the nll {bad.nll}")
    for key, score in found.items():
        recorded = record["scores"][key]
        for name in COMPUTED:
            _same(f"{name} on {key}", recorded.get(name), score[name])
        _same(f"clusters on {key}", recorded.get("clusters"), score["clusters"])
        if recorded["rule"] == score["rule"]:
            _reread((line for line in lines if line.task == key), protocol)
    for name, value in averages(found).items():
        _same(f"the {name} average", record["averages"].get(name), value)
    for name, mean in nll_averages(lines, found).items():
        _same(f"the {name} average of nll", record.get("nll", {}).get(name), mean)


def _reread(lines: Iterable[Prediction], protocol: Protocol) -> None:
    """Read the answers again from the texts, by the rule that the record names."""
    from bench.evaluation.evaluate import judge

    # The form of an answer is a regular expression; one from outside may take exponential time.
    protocol = replace(protocol, answer_form="")
    for line in lines:
        problem = Problem(line.task, line.question, "", "", line.answer)
        again = judge(line.task, line.index, problem, line.text, line.tokens, protocol)
        expected = (again.prediction, again.correct) if line.reason is None else (None, False)
        if (line.prediction, line.correct) != expected:
            raise ValueError(
                f"row {line.index} of {line.task} was scored differently: its answer is not "
                f"{line.prediction!r}"
            )


def _same(what: str, recorded: Any, computed: Any, tolerance: float = 1e-9) -> None:
    if isinstance(computed, dict) and isinstance(recorded, dict):
        for key, value in computed.items():
            _same(f"{what}, {key}", recorded.get(key), value, tolerance)
        return
    same = recorded == computed
    if isinstance(computed, float) and isinstance(recorded, int | float):
        same = math.isclose(recorded, computed, rel_tol=1e-9, abs_tol=tolerance)
    if not same:
        raise ValueError(f"{what} is {recorded!r:.60}; its predictions give {computed!r:.60}")


def check_sweep(sweep: SweepRecord, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that a sweep's record is well-formed and has runs in the rows of their settings.

    Raises:
        ValueError: what is wrong.
    """
    texts = [*sweep.arguments, *sweep.remarks]
    for row in sweep.rows:
        texts += [row.key, row.label, row.method, *row.details]
        if not isinstance(row.curvature, int | float | str | None):
            raise ValueError(f"a row has the curvature {row.curvature!r:.40}")
    mappings = (sweep.question, *(row.options for row in sweep.rows))
    if not all(isinstance(text, str) for text in texts) or not all(
        isinstance(mapping, dict) for mapping in mappings
    ):
        raise ValueError("its rows, arguments or remarks have the wrong type")
    if not isinstance(sweep.created, int | float):
        raise ValueError("it does not say when it was created")
    rows, spec = {row.key for row in sweep.rows}, spec_of(sweep)
    for member in sweep.members:
        record = records.get(member.identity)
        settings = record and (key_of(record, spec), record["seed"])
        if member.row not in rows or (record and settings != (member.row, member.seed)):
            raise ValueError(f"the run {member.identity[:12]} is not in the row of its settings")
