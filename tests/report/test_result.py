"""What a selection of runs becomes, and the files that are written."""

from dataclasses import replace

import pytest

from bench.report.result import result_of, write_result
from tests.report.score_runs import SPEC, answered, finished, selection


def test_published_numbers_are_read_by_the_name_in_the_spec():
    report = result_of(selection([finished()], replace(SPEC, published="table2"))).report
    assert report.tables[-1].key == "paper"
    with pytest.raises(ValueError, match="Did you mean table2"):
        result_of(selection([finished()], replace(SPEC, published="tabel2")))


def test_figures_are_written_under_the_name_of_the_table(tmp_path, sketched):
    runs = [answered(method, seed) for method in ("lora", "dora") for seed in range(3)]
    result = result_of(selection(runs, replace(SPEC, figures=("accuracy",))))
    paths = write_result(result, tmp_path)
    assert {path.name for path in paths} >= {"toy_accuracy.svg", "toy_accuracy.png"}
