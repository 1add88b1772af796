"""Which records may stand in one table, and which of them form one row."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.report.names import curvature_rank, method_label, method_rank

Record = Mapping[str, Any]

# Two runs that differ here did not answer the same question, so no table holds both.
SHARED = {
    "model": None,
    "published_base": None,
    "data": None,
    "protocol": None,
    "split": "test",
}
# What a run may choose for its machine without changing its result.
MACHINE_ONLY = ("micro_batch_size", "devices", "workers", "validations", "checkpoint_minutes")


def select(records: Iterable[Record]) -> list[Record]:
    """Drop repeated identities and check that the rest may be compared.

    Args:
        records: Finished runs. Of two with one identity the first counts, so give the newest first.

    Returns:
        The records in the order given.

    Raises:
        ValueError: There are none, or they disagree on base, data or protocol.
    """
    unique: dict[str, Record] = {}
    for record in records:
        unique.setdefault(record["identity"], record)
    kept = list(unique.values())
    if not kept:
        raise ValueError("no finished runs to make a table of: run the sweep first, then report")
    for field, default in SHARED.items():
        counts = Counter(record.get(field, default) for record in kept)
        if len(counts) > 1:
            found = ", ".join(
                f"{value!r} in {runs} of {len(kept)} runs" for value, runs in counts.items()
            )
            raise ValueError(
                f"a table compares runs of one {field}, but these have {len(counts)}: {found}. "
                "Give the runs of one of them"
            )
    return kept


def group(records: Sequence[Record], apart: Mapping[str, Any]) -> list[list[Record]]:
    """Sort records into rows: one for each method and curvature, its runs ordered by seed.

    Args:
        records: Finished runs.
        apart: Options whose values make rows of their own, too.

    Raises:
        ValueError: The runs of a row differ in more than the seed; their mean would mix settings.
    """
    rows: dict[tuple[str, float | str, tuple[str, ...]], list[Record]] = {}
    for record in records:
        options = record.get("options") or {}
        values = tuple(str(options.get(name)) for name in apart)
        rows.setdefault((record["method"], record.get("curvature") or 0.0, values), []).append(
            record
        )
    for runs in rows.values():
        runs.sort(key=lambda run: -1 if run.get("seed") is None else run["seed"])
        _differ_in_seed_alone(runs)
    # Rows that only an option tells apart stay in the order of the records.
    order = sorted(rows, key=lambda key: (method_rank(key[0]), curvature_rank(key[1])))
    return [rows[key] for key in order]


def _differ_in_seed_alone(runs: Sequence[Record]) -> None:
    first = runs[0]
    label = method_label(first["method"], first.get("curvature"))
    for run in runs[1:]:
        unlike = sorted({name for name, _ in _settings(run).items() ^ _settings(first).items()})
        if unlike:
            shown = "; ".join(
                f"{name}: {_settings(first).get(name)} and {_settings(run).get(name)}"
                for name in unlike
            )
            raise ValueError(
                f"{label}: the runs of a row may differ in their seed alone, but these differ in "
                f"{shown}. Give the runs of one setting"
            )
    seeds = [run.get("seed") for run in runs]
    for seed in seeds:
        if seeds.count(seed) > 1:
            twins = ", ".join(run["identity"][:12] for run in runs if run.get("seed") == seed)
            where = "no seed" if seed is None else f"seed {seed}"
            raise ValueError(
                f"{label}: {seeds.count(seed)} different runs with {where} (identities {twins}), "
                "and a mean over seeds may count one. Give the runs of one sweep"
            )


def training_settings(run: Record) -> dict[str, Any]:
    """How a run was trained, less what changes no result; empty where nothing was trained."""
    if run.get("seed") is None:
        return {}
    train = dict(run.get("train") or {})
    left_out = set(MACHINE_ONLY)
    if train.get("keep", "last") == "last":  # then it does not matter when it was validated
        left_out |= {"keep", "validate_every"}
    else:
        left_out.discard("validations")
    return {k: v for k, v in train.items() if k not in left_out}


def _settings(run: Record) -> dict[str, str]:
    settings = {name: str(value) for name, value in training_settings(run).items()}
    settings |= {name: str(value) for name, value in (run.get("options") or {}).items()}
    settings["trainable parameters"] = str((run.get("parameters") or {}).get("trainable"))
    return settings
