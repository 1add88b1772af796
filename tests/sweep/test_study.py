"""A study as a queue of trials that several processes share."""

import multiprocessing
import time

import pytest
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser

from bench.errors import InputError
from bench.sweep.space import SAMPLERS, read_space
from bench.sweep.study import open_storage, open_study, pruner
from bench.sweep.trials import Trials

POINTS = 12


def make_trials(url, folder, name="study", max_retries=1, grid=True, count=POINTS):
    """The study and its trials as a process sees them that has just begun."""
    words = [f"x=range({count})"] if grid else ["x=interval(0.0,1.0)"]
    space = read_space(OverridesParser.create().parse_overrides(words), grid)
    study = open_study(url, name, ["minimize"], {"space": space.expressions}, folder / "lock")
    points = space.points() if grid else None
    sampler = {"_target_": SAMPLERS["grid" if grid else "random"], "seed": 0}
    return Trials(study, space, points, count, max_retries, folder / "lock", sampler)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


def work_off(url, folder, done):
    """What a worker process does: take trials until there are none."""
    trials = make_trials(url, folder)
    with trials:
        while (trial := trials.take()) is not None:
            time.sleep(0.01)
            with FileLock(folder / "done.lock"), done.open("a") as file:
                file.write(f"{trial.params['x']}\n")
            trials.complete(trial, [float(trial.params["x"])], "")


def take_and_die(url, folder):
    """A worker that is killed while it has a trial."""
    trials = make_trials(url, folder)
    trials.study.set_user_attr(f"alive {trials.worker}", time.time())
    trials.take()


def in_processes(target, *arguments, count=1):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=target, args=arguments) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * count


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_processes_on_one_study_run_each_point_once(tmp_path, kind):
    url = f"{kind}:///{tmp_path}/study"
    in_processes(work_off, url, tmp_path, tmp_path / "done", count=3)
    done = (tmp_path / "done").read_text().split()
    assert sorted(done, key=int) == [str(x) for x in range(POINTS)]
    study = make_trials(url, tmp_path).study
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * POINTS


def test_a_trial_whose_process_died_is_run_again(url, tmp_path):
    in_processes(take_and_die, url, tmp_path)
    trials = make_trials(url, tmp_path)
    with trials:
        taken = [trials.take().params["x"] for _ in range(POINTS)]
        assert trials.take() is None
    assert sorted(taken, key=int) == [str(x) for x in range(POINTS)]
    assert [trial.state.name for trial in trials.study.trials] == ["FAIL"] + ["RUNNING"] * POINTS


def test_a_trial_that_is_given_back_is_taken_again(url, tmp_path):
    trials = make_trials(url, tmp_path, max_retries=0, count=1)
    with trials:
        trials.give_back(trials.take())
        assert trials.take().params == {"x": "0"}


def test_a_failed_point_is_tried_again_so_often_and_in_a_later_command_anew(url, tmp_path):
    trials = make_trials(url, tmp_path, max_retries=1, count=1)
    with trials:
        for _ in range(2):
            trials.fail(trials.take(), "loss is nan")
        assert trials.take() is None
    later = make_trials(url, tmp_path, max_retries=1, count=1)
    with later:
        assert later.take().params == {"x": "0"}


def test_a_refused_point_is_not_tried_again(url, tmp_path):
    trials = make_trials(url, tmp_path, max_retries=3, count=1)
    with trials:
        trials.fail(trials.take(), "r is too large", final=True)
        assert trials.take() is None


def test_a_sampler_is_asked_for_so_many_trials_in_all(url, tmp_path):
    trials = make_trials(url, tmp_path, grid=False, count=3)
    with trials:
        for _ in range(2):
            trials.complete(trials.take(), [1.0], "")
    later = make_trials(url, tmp_path, grid=False, count=3)
    with later:
        later.complete(later.take(), [1.0], "")
        assert later.take() is None
    assert len({trial.params["x"] for trial in later.study.trials}) == 3


def test_a_lost_trial_of_a_sampler_keeps_its_point(url, tmp_path):
    trials = make_trials(url, tmp_path, grid=False, count=2)
    with trials:
        lost = trials.take()
        trials.give_back(lost)
        assert trials.take().params == lost.params


def test_a_study_of_another_search_is_refused(url, tmp_path):
    make_trials(url, tmp_path, name="mine")
    with pytest.raises(InputError, match=r"belongs to another search \(space: .*study_name"):
        make_trials(url, tmp_path, name="mine", count=5)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not the address of a database"),
        ("sqlite:////nowhere/at/all.db", "can't be used"),
        ("journal:////nowhere/at/all.journal", "can't be used"),
        ("oracle://host/db", "not the address of a database|its driver is missing"),
        ("sqlite:///{}/damaged.db", r"damaged\.db"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_refused(tmp_path, url, message):
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    with pytest.raises(InputError, match=message):
        open_storage(url.format(tmp_path))


@pytest.mark.parametrize("words", ["x=a,b,c", "x=range(1,4)", "x=int(interval(1,3))"])
def test_a_sampler_repeats_a_point_only_if_there_is_no_other(tmp_path, words):
    space = read_space(OverridesParser.create().parse_overrides([words]), False)
    study = open_study(
        f"sqlite:///{tmp_path}/study.db", "study", ["minimize"], {}, tmp_path / "lock"
    )
    trials = Trials(study, space, None, 4, 1, tmp_path / "lock", "tpe")
    with trials:
        tried = []
        while (trial := trials.take()) is not None:
            tried.append(trial.params["x"])
            trials.complete(trial, [1.0], "")
    assert len(tried) == 4 and len(set(tried[:3])) == 3


def test_a_trial_that_another_process_took_over_ends_without_an_error(url, tmp_path):
    trials = make_trials(url, tmp_path, count=1)
    with trials:
        taken = trials.take()
        trials.give_back(taken)
        trials.complete(taken, [1.0], "")
        pruner(url, "study", taken._trial_id)(1, 1.0)
        assert trials.take().params == taken.params


def test_a_storage_may_have_braces_in_its_path(tmp_path):
    open_storage(f"sqlite:///{tmp_path}/a{{b}}.db")
    assert (tmp_path / "a{b}.db").is_file()
