import json

import pytest

from bench.report.efficiency import efficiency_document, write_efficiency
from bench.report.render import markdown


@pytest.fixture
def report(efficiency_report):
    return efficiency_report


def rows(text):
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_each_method_stands_beside_lora_with_its_quartiles(report):
    text = markdown(efficiency_document(report))
    found = rows(text)
    assert "step 96 (LoRA 20 ms)" in text
    assert found["LoRA again"][0] == "1.01 [1.00, 1.02]"
    assert found["base model"] == ["-", "0.60 [0.59, 0.61]", "0"]
    assert "at most 3e-07 from their literal definition" in text
    assert "GiB" not in text


def test_memory_is_shown_where_the_device_tells_it(report):
    for times in report["cases"][0]["works"].values():
        for method in times:
            times[method]["peak_bytes"] = 3 * 2**30
    text = markdown(efficiency_document(report))
    assert "Peak, GiB" in text and rows(text)["base model"] == [
        "-",
        "0.60 [0.59, 0.61]",
        "3.00",
        "0",
    ]


def test_the_papers_ratios_are_those_of_its_figure(report):
    text = markdown(efficiency_document(report))
    assert "| HypLoRA | LLaMA3-8B | 1.61 | 1.35 | 1.52 | 1.04 |" in text
    assert "| DoRA | Gemma-7B | 1.87 |" in text
    assert "HypLoRA 30.14 GB on LLaMA3-8B" in text


def test_the_loop_beside_a_trainer_is_told(report):
    report["throughput"] = {
        "model": "tiny",
        "data": ["mawps"],
        "rows": 100,
        "tokens": 9000,
        "steps": 7,
        "batch_size": 16,
        "micro_batch_size": 4,
        "loops": {
            "this loop": {
                "tokens_per_second": 3500.0,
                "ratio": 1.75,
                "ratio_low": 1.7,
                "ratio_high": 1.8,
                "utilisation": 0.25,
            }
        },
        "matmul_flops_per_second": 1e11,
        "loss_difference": 1e-7,
    }
    text = markdown(efficiency_document(report))
    assert rows(text)["this loop"] == ["3,500", "1.75 [1.70, 1.80]", "25%"]


def test_tables_and_figures_are_written(report, tmp_path):
    paths = write_efficiency(report, tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in paths}
    assert names == {
        "tables/efficiency.md",
        "tables/efficiency.csv",
        "tables/efficiency.json",
        "tables/efficiency.tex",
        "figures/efficiency.svg",
        "figures/efficiency.png",
    }
    assert json.loads((tmp_path / "tables" / "efficiency.json").read_text()) == report


def test_a_measurement_without_cases_has_no_figure(report, tmp_path):
    report["cases"] = []
    assert [path.name for path in write_efficiency(report, tmp_path)] == [
        "efficiency.md",
        "efficiency.csv",
        "efficiency.json",
        "efficiency.tex",
    ]
