import pytest
import torch
from transformers import AutoConfig, LlamaConfig

from bench.errors import InputError
from bench.models import footprint
from bench.models.loading import load_base
from tests.helpers import model_at

CPU = torch.device("cpu")


@pytest.mark.parametrize("family", ["llama", "gemma", "gemma3", "qwen2"])
def test_the_weights_are_estimated_to_the_byte(family_base, family):
    config = AutoConfig.from_pretrained(family_base(family))
    for dtype in ("float32", "bfloat16"):
        found = footprint.footprint(config, getattr(torch, dtype), False)
        model, _ = load_base(model_at(family_base(family), dtype), CPU)
        assert found[0] == sum(p.numel() * p.itemsize for p in model.parameters())


def test_a_model_of_eight_billion_is_estimated_without_its_weights():
    config = LlamaConfig(vocab_size=128256, intermediate_size=14336, num_key_value_heads=8)
    found = footprint.footprint(config, torch.bfloat16, False)
    assert 16.0e9 < found[0] < 16.2e9 and 2e9 < found[1] < 6e9


def test_a_base_with_a_vision_tower_is_estimated_by_its_language_model():
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "vocab_size": 128}
    config = AutoConfig.for_model("qwen3_5", text_config=sizes)
    assert 0 < footprint.footprint(config, torch.float32, False)[0] < 20e6


def test_a_base_that_does_not_fit_is_refused_with_the_figures(family_base, monkeypatch):
    folder = family_base("llama")
    needed = footprint.footprint(AutoConfig.from_pretrained(folder), torch.float32, False)
    exactly = sum(needed)
    monkeypatch.setattr(footprint, "free_memory", lambda device: exactly)
    load_base(model_at(folder), CPU)
    monkeypatch.setattr(footprint, "free_memory", lambda device: exactly - 1)
    figures = r"0\.\d MB for its weights in float32.* MB of memory.*model\.check_memory=false"
    with pytest.raises(InputError, match=figures):
        load_base(model_at(folder), CPU)
    load_base(model_at(folder, check_memory=False), CPU)


def test_memory_is_limited_by_all_cgroups_of_a_process(tmp_path):
    job = tmp_path / "slurm/job_1"
    job.mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/slurm/job_1\n")
    assert min(footprint.cgroup_room(own, tmp_path)) == float("inf")
    for group, limit in ((job, "max"), (job.parent, "1000")):
        (group / "memory.max").write_text(limit + "\n")
        (group / "memory.current").write_text("700\n")
        (group / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert min(footprint.cgroup_room(own, tmp_path)) == 1000 - 700 + 150
    assert 0 < footprint.free_memory(CPU) < 2**60
