"""Fixtures of several tests: bases, the command line, composed experiments, a database."""

from __future__ import annotations

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import importlib.util
import json
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

PROJECT = Path(__file__).resolve().parent.parent

# A worker holds millions of objects; with the default thresholds garbage collection takes an eighth
# of its time.
gc.set_threshold(100_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole commands first: their files are long, and at the end all workers should have work."""
    items.sort(key=lambda item: item.path.parent != PROJECT / "tests")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a GPU if there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA GPU here")


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """New sqlite stores of this process are copies of an empty one.

    MLflow makes its tables by all migrations since its first version, which takes three seconds.
    """
    from bench.tracking import backend

    empty = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    migrate = backend.migrate

    def copied(path: Path, artifacts: Path, keep: bool = False) -> None:
        if not empty.exists():
            migrate(empty, artifacts)
        shutil.copy(empty, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "migrate", copied)
        yield


@pytest.fixture(scope="session", autouse=True)
def unsynchronised() -> Iterator[None]:
    """Commits to sqlite in this process do not wait for the disk, which takes their time."""

    def connected(connection: Any, _: Any) -> None:
        with suppress(sqlite3.DatabaseError):  # of a file that is none
            if isinstance(connection, sqlite3.Connection):
                connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", connected)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", connected)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of public data files next to the checkout."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there is no folder of public data files next to this checkout")
    return folder


@pytest.fixture(scope="session")
def golden_file() -> Callable[[str], Path]:
    """A function that gives a file of golden arrays, which some checkouts have next to them."""

    def find(name: str) -> Path:
        places = (parent / "shared" / "fixtures" / name for parent in PROJECT.parents)
        found = next((path for path in places if path.is_file()), None)
        if found is None:
            pytest.skip(f"shared/fixtures/{name} is not next to this checkout")
        return found

    return find


@pytest.fixture(scope="session")
def tiny() -> tuple[Any, Any]:
    """The embedded base and its tokenizer, not to be changed; `fresh_tiny` may be."""
    return load_tiny()


def load_tiny() -> tuple[Any, Any]:
    import torch

    from bench.models.loading import load_base
    from tests.helpers import model_at

    return load_base(model_at("embedded"), torch.device("cpu"))


@pytest.fixture
def fresh_tiny() -> tuple[Any, Any]:
    """The embedded base, loaded for one test that trains it."""
    return load_tiny()


@pytest.fixture(scope="session")
def local_base(tmp_path_factory: pytest.TempPathFactory, tiny: tuple[Any, Any]) -> Path:
    """A folder with a random two-layer LLaMA and the embedded tokenizer."""
    from tests.helpers import save_random_llama

    folder = tmp_path_factory.mktemp("local_base")
    save_random_llama(folder, tiny[1])
    return folder


@pytest.fixture
def inline(tmp_path: Path) -> Callable[..., Any]:
    """`tests.helpers.inline`, if no results folder is given with that of the test."""
    from tests.helpers import inline

    return lambda *words, results=None: inline(*words, results=results or tmp_path / "results")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], Path]:
    """A function that copies the checkout and adds files that it does not have: {path: text}."""

    def copy(added: dict[str, str]) -> Path:
        project = tmp_path_factory.mktemp("checkout")
        for folder in ("bench", "conf", "sweeps", "hydra_plugins", "results/published"):
            shutil.copytree(
                PROJECT / folder,
                project / folder,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        shutil.copy(PROJECT / "pyproject.toml", project)
        for path, text in added.items():
            with (project / path).open("x", encoding="utf-8") as file:
                file.write(text)
        return project

    return copy


@pytest.fixture(scope="module")
def few_objects() -> Iterator[None]:
    """Exclude existing objects from garbage collection, which takes a second each time.

    Halving a batch and the measurements of bench.efficiency collect garbage.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are written as their specification: drawing takes a second each."""

    def save(figure: Any, folder: Path, stem: str) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{stem}.svg", folder / f"{stem}.png"]
        for path in paths:
            path.write_text(json.dumps(figure.spec))
        return paths

    for module in ("result", "search", "embeddings_figures", "efficiency"):
        monkeypatch.setattr(f"bench.report.{module}.save", save)


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Overrides for a run of a second or two."""
    return (
        "data.train=[mawps,SVAMP]",
        "data.tests=[mawps,SVAMP]",
        "data.train_size=4",
        "data.validation=2",
        "data.test_size=2",
        "train.epochs=1",
        "protocol.max_new_tokens=6",
    )


@pytest.fixture(scope="session")
def measurement() -> Callable[[str], dict[str, Any]]:
    """A function that reads a committed measurement; a test may change what it gets."""
    from bench.report.measurements import PUBLISHED

    return lambda kind: json.loads((PUBLISHED / kind / f"{kind}.json").read_bytes())


@pytest.fixture
def compose(tmp_path: Path) -> Callable[..., Any]:
    """The typed experiment for command-line overrides, with its results in the test's folder."""

    def build(*overrides: str) -> Any:
        from bench.config import read_experiment
        from tests.helpers import composed

        return read_experiment(composed(*overrides, f"tracking.folder={tmp_path / 'results'}"))

    return build


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of a PostgreSQL server of these tests."""
    from bench.tracking.dashboard import free_port

    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb") or next((str(f / "initdb") for f in reversed(folders)), None)
    if found is None or not Path(found).exists():
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the extra [postgres] is not installed")
    programs = Path(found).resolve().parent
    # It refuses to run as root, and another user can't enter pytest's folders.
    runuser = shutil.which("runuser") or "/usr/sbin/runuser"  # not in the path of each root
    lower = [runuser, "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="bench-postgres-"))
    if lower:
        shutil.chown(folder, "postgres")
    port = free_port(0)

    def call(program: str, *arguments: str) -> None:
        command = [*lower, str(programs / program), "-D", str(folder / "data"), *arguments]
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    settings = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    try:
        call("initdb", "-U", "bench", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        call("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", settings)
        yield f"postgresql://bench@127.0.0.1:{port}/postgres"
        call("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
