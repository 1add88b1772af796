"""Limits of a saved adapter's configuration, which is checked before anything is allocated."""

import copy
import json
import sys
from pathlib import Path

import pytest

from bench.errors import InputError
from bench.methods import attach
from bench.training.adapter_checks import LARGEST, PREFIX_NUMBERS, check_sizes
from bench.training.adapters import load_adapter, save_adapter

FOLDER, BLOCKS = Path("adapter"), 4


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"bottleneck_size": 10**9}, "its bottleneck_size is 1000000000: at most 8192"),
        ({"bottleneck_size": 1e12}, "at most 8192"),
        ({"bottleneck_size": float("nan")}, "its bottleneck_size is nan"),
        ({"encoder_hidden_size": 10**6}, "its encoder_hidden_size is 1000000: at most 65536"),
        ({"num_virtual_tokens": 10**10}, "its prefix of"),
        ({"num_virtual_tokens": 2**20, "num_layers": 32, "token_dim": 4096}, "its prefix of"),
        ({"num_virtual_tokens": 8, "num_layers": 10**9}, "its prefix of"),
        ({"num_virtual_tokens": 8, "token_dim": 10**9}, "its prefix of"),
        ({"megatron_config": {"x": 1}, "megatron_core": "os"}, "megatron_config is not supported"),
    ],
)
def test_a_configuration_that_is_too_large_or_imports_is_refused(saved, message):
    with pytest.raises(InputError, match=f"^adapter=adapter: .*{message}"):
        check_sizes(FOLDER, saved, BLOCKS)


@pytest.mark.parametrize(
    "saved",
    [
        {key: limit for key, limit in LARGEST.items()},
        {"num_virtual_tokens": PREFIX_NUMBERS // 2**18, "num_layers": 2**6, "token_dim": 2**12},
        {"num_virtual_tokens": 30, "num_layers": None, "token_dim": None},
        {"megatron_config": None, "megatron_core": "megatron.core"},
    ],
)
def test_a_configuration_at_the_limits_is_accepted(saved):
    check_sizes(FOLDER, saved, BLOCKS)


def test_a_module_that_an_adapter_names_is_not_imported(fresh_tiny, tmp_path, monkeypatch):
    base, _ = fresh_tiny
    options = {"r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    save_adapter(attach(copy.deepcopy(base), "lora", options), tmp_path / "adapter")
    (tmp_path / "named_by_an_adapter.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "adapter" / "adapter_config.json"
    changed = json.loads(path.read_text()) | {"megatron_core": "named_by_an_adapter"}
    path.write_text(json.dumps(changed))
    load_adapter(base, path.parent)
    assert "named_by_an_adapter" not in sys.modules
