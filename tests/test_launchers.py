"""Sweeps through Hydra's launchers: what is said where one is missing, what they do where it is."""

import importlib.util
import os
import pickle

import pytest
from hydra.errors import MissingConfigException

from bench.errors import Failure, InputError
from bench.run import configuration_error
from bench.sweep.launch import portable


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@pytest.mark.parametrize(
    ("launcher", "extra"),
    [("ray", "ray"), ("submitit_local", "slurm"), ("submitit_slurm", "slurm")],
)
@pytest.mark.parametrize("options", [["basic", "joblib"], None])
def test_a_launcher_that_is_missing_names_its_extra(launcher, extra, options):
    error = MissingConfigException("not found", f"hydra/launcher/{launcher}", options)
    told = configuration_error(error)
    assert told.startswith(f"hydra/launcher={launcher} needs the extra [{extra}]: ")
    assert told.endswith(f".venv/bin/pip install -e '.[{extra}]'")


@pytest.mark.parametrize(
    ("launcher", "package", "extra"),
    [
        ("ray", "ray", "ray"),
        ("ray_gpus", "ray", "ray"),
        ("submitit_local", "submitit", "slurm"),
        ("slurm", "submitit", "slurm"),
    ],
)
def test_the_command_says_what_to_install(command, launcher, package, extra):
    if installed(package):
        pytest.skip(f"{package} is installed")
    result = command("+sweep=table2", f"hydra/launcher={launcher}")
    assert result.returncode == 2
    assert f"needs the extra [{extra}]" in result.stderr and "Traceback" not in result.stderr


class Odd(Exception):
    """Can't be made again from what it keeps, like some errors of libraries."""

    def __init__(self, what, where):
        super().__init__(f"{what} at {where}")


def test_an_error_that_cannot_be_pickled_is_told_in_one_that_can():
    told = portable(Odd("no space", "node 7"))
    assert isinstance(told, Failure) and str(told) == "Odd: no space at node 7"
    assert pickle.loads(pickle.dumps(told)).args == told.args


def test_any_other_error_stays_what_it_is():
    error = InputError("method.r must be a whole number")
    assert portable(error) is error


def test_a_worker_needs_nothing_of_the_environment_of_the_command(inline, small):
    other = "+hydra.job.env_set.HYPLORA_BENCH_BEGAN=nonsense"
    result = inline("method=none", *small, other)
    assert result.code == 0, result.stderr


@pytest.mark.slow  # workers that start anew for each run
@pytest.mark.skipif(not installed("submitit"), reason="needs the extra [slurm]")
def test_submitit_runs_a_grid_and_keeps_its_files_in_the_results_folder(command, tmp_path, small):
    before = set(os.listdir())
    result = command("-m", "hydra/launcher=submitit_local", "method=none,lora", *small)
    assert result.returncode == 0, result.stderr
    assert "2 different runs: 2 done now" in result.stdout
    assert list((tmp_path / "results" / "submitit").glob("*/*_log.out"))
    assert set(os.listdir()) == before


@pytest.mark.slow
@pytest.mark.skipif(not installed("ray"), reason="needs the extra [ray]")
def test_ray_runs_a_grid_and_writes_nothing_beside_it(command, small):
    before = set(os.listdir())
    ray = ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2")
    result = command("-m", *ray, "method=none,lora", *small)
    assert result.returncode == 0, result.stderr
    assert "2 different runs: 2 done now" in result.stdout
    assert set(os.listdir()) == before
