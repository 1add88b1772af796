"""The committed tables are what the report makes of the committed runs, byte for byte.

If a change of wording is meant: import results/records into a new store, then action=report.
"""

import gzip
import json

import pytest

from bench.report.efficiency import efficiency_report
from bench.report.embeddings.report import embeddings_report
from bench.report.formats import write
from bench.report.measurements import PUBLISHED
from bench.report.result import result_of, write_result
from bench.report.selection import published_sweep, select
from bench.tracking.contents import SweepRun

TABLES = PUBLISHED.parent / "tables"


def assert_committed(paths):
    assert len(paths) == 4
    assert [p.name for p in paths if p.read_bytes() != (TABLES / p.name).read_bytes()] == []


def predictions(folder):
    def read(run_id):
        lines = gzip.decompress((folder / f"{run_id}.jsonl.gz").read_bytes()).splitlines()
        return list(map(json.loads, lines))

    return read


@pytest.mark.parametrize("name", [p.parent.name for p in sorted(PUBLISHED.glob("*/sweep.json"))])
def test_a_table_is_made_of_its_runs(name, tmp_path):
    sweep, folder = published_sweep(name), PUBLISHED / name
    known = {
        key: json.loads((folder / f"{key[:12]}.json").read_bytes()) | {"run_id": key[:12]}
        for key in sweep.identities
    }
    (selection,) = select([SweepRun("id", name, (sweep,))], known)
    result = result_of(selection, predictions(folder))
    assert_committed(write_result(result, tmp_path, figures=False))


def test_a_measurement_is_shown_as_committed(measurement, tmp_path):
    efficiency = measurement("efficiency")
    data = {"measurement": efficiency}
    assert_committed(write(efficiency_report(efficiency), tmp_path, data))
    assert_committed(write(embeddings_report(measurement("embeddings")), tmp_path))
