"""Sweeps through Hydra's launchers, and the message if one is not installed."""

import importlib.util
import os
import pickle

import pytest
from hydra.errors import MissingConfigException

from bench.errors import Failure, InputError
from bench.run import configuration_error
from bench.sweep.launch import portable
from tests.helpers import python, refused


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@pytest.mark.parametrize(
    ("launcher", "extra"),
    [("ray", "ray"), ("submitit_local", "slurm"), ("submitit_slurm", "slurm")],
)
@pytest.mark.parametrize("options", [["basic", "joblib"], None])
def test_a_launcher_that_is_missing_names_its_extra(launcher, extra, options):
    error = MissingConfigException("not found", f"hydra/launcher/{launcher}", options)
    message = configuration_error(error)
    assert message.startswith(f"hydra/launcher={launcher} needs the extra [{extra}]: ")
    pinned = "" if extra == "ray" else "-c constraints.txt "
    assert message.endswith(f".venv/bin/pip install {pinned}-e '.[{extra}]'")


@pytest.mark.parametrize(
    ("launcher", "package", "extra"),
    [("ray_gpus", "ray", "ray"), ("slurm", "submitit", "slurm")],
)
def test_the_command_says_what_to_install(inline, launcher, package, extra):
    if installed(package):
        pytest.skip(f"{package} is installed")
    refused(inline("+sweep=table2", f"hydra/launcher={launcher}"), f"needs the extra [{extra}]")


class Odd(Exception):
    """Can't be made again from what it keeps, like some errors of libraries."""

    def __init__(self, what, where):
        super().__init__(f"{what} at {where}")


def test_an_error_that_cannot_be_pickled_is_sent_as_one_that_can():
    sent = portable(Odd("no space", "node 7"))
    assert isinstance(sent, Failure) and str(sent) == "Odd: no space at node 7"
    assert pickle.loads(pickle.dumps(sent)).args == sent.args
    error = InputError("method.r must be a whole number")
    assert portable(error) is error


def test_a_worker_needs_nothing_of_the_environment_of_the_command(inline, small):
    other = "+hydra.job.env_set.HYPLORA_BENCH_BEGAN=nonsense"
    result = inline("method=none", *small, other)
    assert result.code == 0, result.stderr


def grid(folder, *words):
    place = f"tracking.folder={folder / 'results'}"
    return python("bench/run.py", "-m", "method=none,lora", *words, place)


@pytest.mark.slow  # a worker process per run
@pytest.mark.skipif(not installed("submitit"), reason="needs the extra [slurm]")
def test_submitit_runs_a_grid_and_keeps_its_files_in_the_results_folder(tmp_path, small):
    before = set(os.listdir())
    result = grid(tmp_path, "hydra/launcher=submitit_local", *small)
    assert result.returncode == 0, result.stderr
    assert "2 different runs: 2 done now" in result.stdout
    assert list((tmp_path / "results" / "submitit").glob("*/*_log.out"))
    assert set(os.listdir()) == before


@pytest.mark.slow
@pytest.mark.skipif(not installed("ray"), reason="needs the extra [ray]")
def test_ray_runs_a_grid_and_writes_nothing_next_to_it(tmp_path, small):
    before = set(os.listdir())
    ray = ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2")
    result = grid(tmp_path, *ray, *small)
    assert result.returncode == 0, result.stderr
    assert "2 different runs: 2 done now" in result.stdout
    assert set(os.listdir()) == before
