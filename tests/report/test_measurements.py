import pytest

from bench.report.measurements import measurement_name


@pytest.mark.parametrize(
    ("kind", "path", "value", "name"),
    [
        ("embeddings", ("model", "name"), "org/base", "embeddings-org_base"),
        ("embeddings", ("data", "source"), "llm_adapters", "embeddings-llm_adapters"),
        ("efficiency", ("device",), "NVIDIA H200", "efficiency-NVIDIA_H200"),
        ("efficiency", ("throughput", "model"), "../x", "efficiency-x"),
    ],
)
def test_another_base_data_or_device_is_named(measurement, kind, path, value, name):
    content = inner = measurement(kind)
    *folders, last = path
    for key in folders:
        inner = inner[key]
    inner[last] = value
    assert measurement_name(kind, content) == name


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("embeddings", {"settings": {"points": 10}}),
        ("embeddings", {"model": {"name": "tiny", "dimension": 64}}),
        ("efficiency", {"threads": 8}),
    ],
)
def test_other_settings_never_have_the_plain_name(measurement, kind, changes):
    assert measurement_name(kind, measurement(kind) | changes).startswith(f"{kind}-")


@pytest.mark.parametrize("rows", [None, 16])
def test_a_measurement_without_a_published_part_or_with_other_settings_has_its_own_name(
    measurement, rows
):
    content = measurement("efficiency")
    content["throughput"] = rows and content["throughput"] | {"rows": rows}
    assert measurement_name("efficiency", content).startswith("efficiency-")


def test_further_parts_extend_the_published_measurement(measurement):
    content = measurement("efficiency") | {"helm": {"tokens": 512}}
    assert measurement_name("efficiency", content) == "efficiency"
