import copy
import json

import pytest

from bench.report.measurements import PUBLISHED, measurement_name


def published(kind):
    return json.loads((PUBLISHED / kind / f"{kind}.json").read_text())


@pytest.mark.parametrize(
    ("kind", "path", "value", "name"),
    [
        ("embeddings", ("model", "name"), "org/base", "embeddings-org_base"),
        ("embeddings", ("data", "source"), "llm_adapters", "embeddings-llm_adapters"),
        ("efficiency", ("device",), "NVIDIA H200", "efficiency-NVIDIA_H200"),
        ("efficiency", ("throughput", "model"), "../x", "efficiency-x"),
    ],
)
def test_another_base_data_or_device_is_named(kind, path, value, name):
    content = copy.deepcopy(published(kind))
    *folders, last = path
    inner = content
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
def test_other_settings_never_have_the_plain_name(kind, changes):
    assert measurement_name(kind, published(kind) | changes).startswith(f"{kind}-")


@pytest.mark.parametrize("changes", [{"throughput": None}, {"throughput": {"rows": 16}}])
def test_a_measurement_without_a_published_part_or_with_other_settings_has_its_own_name(changes):
    content = published("efficiency")
    part = changes["throughput"] and content["throughput"] | changes["throughput"]
    assert measurement_name("efficiency", content | {"throughput": part}).startswith("efficiency-")


def test_further_parts_extend_the_published_measurement():
    content = published("efficiency") | {"helm": {"tokens": 512}}
    assert measurement_name("efficiency", content) == "efficiency"
