"""The combinations of a sweep before they are launched."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from bench.config import PROJECT
from bench.errors import InputError
from bench.sweep.jobs import Planner, without_hydra


@pytest.fixture
def planner_of(tmp_path):
    def made(*words):
        words = [f"tracking.folder={tmp_path}", *words]
        command = loader.load_configuration("config", words, RunMode.MULTIRUN)
        return Planner(HydraContext(loader, callbacks=None), command, 0.0)

    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        yield made


@pytest.fixture
def planner(planner_of):
    return planner_of()


@pytest.mark.parametrize(
    "words",
    [
        ["method=hyplora", "curvature=0.5", "seed=3"],
        ["seed=1", "+sweep=table2", "train.lr=1e-3", "method=dora", "+method.bias=all"],
        ["model=llama3-8b", "train=paper", "protocol=paper", "~force", "data.root=x"],
        ["data.tests=[mawps,SVAMP]", "++method.r=2", "method.target_modules=[q_proj]"],
    ],
)
def test_a_combination_is_composed_as_by_hydra(planner, words):
    composed = planner.loader.load_sweep_config(planner.config, words)
    expected = OmegaConf.to_container(without_hydra(composed), resolve=True)
    planner.compose([*words, "seed=9", "train.epochs=7"])  # leaves nothing behind
    assert planner.compose(words) == expected and list(expected) == list(planner.compose(words))


def test_a_group_of_a_folder_of_ones_own_is_composed(planner_of, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "seven.yaml").write_text("# @package _global_\nseed: 7\n")
    planner = planner_of(f"hydra.searchpath=[file://{tmp_path}]")
    assert planner.compose(["+mine=seven"])["seed"] == 7


def test_what_refuses_several_combinations_is_said_once(planner):
    lost = ["model=local", "model.path=/nowhere"]
    with pytest.raises(InputError, match=r"^3 combinations can't be run:\n  model\.path") as every:
        planner.jobs([*lost, f"seed={seed}"] for seed in range(3))
    assert str(every.value).count("no such folder") == 1
    here = ["method=none", "data.test_size=1"]
    some = r"2 combinations.*\n  data\.limit=0 seed=0; data\.limit=0 seed=1: data\.limit must be"
    with pytest.raises(InputError, match=some):
        limits = ((0, 0), (0, 1), (1, 0))
        planner.jobs([*here, f"data.limit={limit}", f"seed={seed}"] for limit, seed in limits)
