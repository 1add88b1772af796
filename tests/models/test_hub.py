"""A base on a hub: real requests of huggingface_hub and transformers to a small local server."""

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
import torch
from huggingface_hub import close_session, constants
from huggingface_hub.errors import GatedRepoError
from transformers import AutoConfig

from bench.errors import InputError
from bench.models import hub, loading
from tests.helpers import model_at

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_averysecrettoken"  # not a real one
MESSAGE = f"refused to the bearer of {TOKEN}"
REFUSED = {
    "absent": (404, "RepoNotFound", MESSAGE),
    "disabled": (403, "", "Access to this resource is disabled."),
    "busy": (429, "", MESSAGE),
    "broken": (500, "", MESSAGE),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    checkpoint, gone = None, False

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if Handler.gone:  # on a connection that was kept open
            self.close_connection = True
            return None
        parts = self.path.split("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name, rest = (parts[3], parts[4:]) if api else (parts[1], parts[2:])
        if name in REFUSED:
            return self.answer(*REFUSED[name])
        if rest[:1] == ["tree"]:
            return self.answer(200, body=b"[]")
        if rest and rest[1] in ("gone", "f" * 40):
            return self.answer(404, "RevisionNotFound")
        if api:
            return self.answer(200, body=json.dumps(self.listing(name)).encode())
        if name == "gated":
            return self.answer(403, "GatedRepo")
        file = self.checkpoint.joinpath(*rest[2:])
        if not file.is_file():
            return self.answer(404, "EntryNotFound")
        return self.answer(200, body=file.read_bytes())

    def listing(self, name):
        sizes = {path.name: path.stat().st_size for path in self.checkpoint.iterdir()}
        if name == "pickled":
            sizes["pytorch_model.bin"] = sizes.pop("model.safetensors")
        if name == "huge":
            sizes["model.safetensors"] = 10**18
        files = [{"rfilename": file, "size": size} for file, size in sizes.items()]
        return {"id": f"owner/{name}", "sha": COMMIT, "siblings": files}

    def answer(self, status, error="", message=MESSAGE, body=b""):
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        if status != 200:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def settings(path="owner/model", revision=None):
    return model_at(path, revision=revision)


def load(path, revision=None):
    """The loaded commit, or the error."""
    try:
        return loading.load_base(settings(path, revision), torch.device("cpu"))[0].commit
    except InputError as error:
        return error


@pytest.fixture(scope="module")
def results(local_base, tmp_path_factory):
    """The results of loading bases from the hub, by case."""
    Handler.checkpoint = local_base
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_TOKEN", TOKEN)
        close_session()
        found["gone"] = load("owner/good", "gone")
        found["gone commit"] = load("owner/good", "f" * 40)
        for name in (*REFUSED, "gated", "pickled", "huge"):
            found[name] = load(f"owner/{name}")
        found["no id"] = load("owner/a b")
        found["good"] = load("owner/good")
        Handler.gone = True
        server.shutdown()
        server.server_close()
        found["cached"] = load("owner/good")
        found["cached commit"] = load("owner/good", COMMIT)
        found["unreachable"] = load("owner/another")
        found["unreachable commit"] = load("owner/another", COMMIT)
    close_session()
    return found


@pytest.mark.parametrize(
    ("case", "problem", "advice"),
    [
        ("gone", "has no such branch, tag or commit", "/owner/good/commits/main"),
        ("gone commit", "has no such branch, tag or commit", "model.revision=null"),
        ("absent", "no such repository, or it is private", "HF_TOKEN"),
        ("disabled", "has disabled this repository", "/owner/disabled"),
        ("busy", "the hub answered 429", "try again later"),
        ("broken", "the hub can't be reached", "hf download owner/broken"),
        ("gated", "is gated", "accept its terms"),
        ("pickled", "has no model.safetensors", "save_pretrained"),
        ("huge", "its files take 1000000000.0 GB", "HF_HOME="),
        ("no id", "is no hub id", "OWNER/NAME"),
        ("unreachable", "not in the cache", "hf download owner/another --include"),
        ("unreachable commit", "not in the cache", f"owner/another --revision {COMMIT}"),
    ],
)
def test_an_error_of_the_hub_is_one_line_with_advice(results, case, problem, advice):
    message = str(results[case])
    assert problem in message and advice in message and "\n" not in message


def test_no_message_or_traceback_has_a_token(results):
    errors = [error for error in results.values() if isinstance(error, InputError)]
    causes = [error.__cause__ or error.__context__ for error in errors]
    assert not [error for error in errors if TOKEN in str(error)]
    # The hub's answers do; a traceback leaves them out.
    with_token = [e for e, cause in zip(errors, causes, strict=True) if TOKEN in repr(cause)]
    assert with_token and all(error.__suppress_context__ for error in with_token)


def test_the_loaded_commit_is_known_with_and_without_a_network(results):
    assert [results[case] for case in ("good", "cached", "cached commit")] == [COMMIT] * 3


def test_offline_a_base_that_is_not_cached_is_refused():
    assert str(load("owner/nowhere")).startswith("model.path=owner/nowhere: HF_HUB_OFFLINE is set")


def test_a_gated_base_is_recognised_in_an_error_of_transformers(monkeypatch):
    response = httpx2.Response(403, request=httpx2.Request("GET", "https://hub/owner/model"))

    def refuse(*_, **__):
        cause = GatedRepoError("403", response=response)
        raise OSError("You are trying to access a gated repo.") from cause

    monkeypatch.setattr(loading, "resolve_commit", lambda settings: (COMMIT, False))
    monkeypatch.setattr(AutoConfig, "from_pretrained", refuse)
    error = load("owner/model")
    assert "is gated: accept its terms" in str(error) and error.__suppress_context__


def test_a_full_disk_during_a_download_is_reported():
    error = hub.loading_error(settings(), OSError(28, "No space left on device"))
    assert "is full" in str(error) and "HF_HOME=" in str(error)


def test_all_shards_of_a_base_must_be_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--owner--model/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    assert not hub._cached("owner/model", COMMIT)
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name in ("config.json", "tokenizer.json"):
        (snapshot / name).write_text("{}")
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / shards[0]).touch()
    assert not hub._cached("owner/model", COMMIT)
    (snapshot / shards[1]).touch()
    assert hub._cached("owner/model", COMMIT)


def test_other_formats_and_folders_are_not_downloaded(monkeypatch):
    others = ("pytorch_model.bin", "original/consolidated.00.pth", "onnx/config.json")
    shards = {f"model-0000{i}-of-00002.safetensors": 100 for i in (1, 2)}
    sizes = dict.fromkeys(others, 10**9) | shards | {"config.json": 10}
    usage = type("Usage", (), {"free": 210})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    hub._check_files(settings(), sizes)
    usage.free = 209
    with pytest.raises(InputError, match=r"has 0\.0 MB left"):
        hub._check_files(settings(), sizes)


def test_tokens_are_masked_in_messages_of_other_libraries(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "my own secret")
    text = hub.without_tokens("sent my own secret and hf_abcdefghijkl to hf_hub")
    assert text == "sent *** and hf_*** to hf_hub"
