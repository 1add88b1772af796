"""A hub on this machine, run as a program: it loads bases from itself and prints what is told.

The protocol is the real one, spoken by huggingface_hub and transformers; only the server is small.
Arguments: the folder of a checkpoint, and a folder for the cache. Prints a line of JSON for each
case: the message of its error, or the commit that was loaded.
"""

import hashlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHECKPOINT, HOME = Path(sys.argv[1]), sys.argv[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUGE = 10**18
TOKEN = "hf_averysecrettoken"  # no token of anybody's
SAID = f"refused to the bearer of {TOKEN}"
REFUSED = {
    "absent": (404, "RepoNotFound", SAID),
    "disabled": (403, "", "Access to this resource is disabled."),
    "busy": (429, "", SAID),
    "broken": (500, "", SAID),
}


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gone = False

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if Hub.gone:  # on a connection that was kept open
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
        file = CHECKPOINT.joinpath(*rest[2:])
        if not file.is_file():
            return self.answer(404, "EntryNotFound")
        return self.answer(200, body=file.read_bytes())

    def listing(self, name):
        sizes = {path.name: path.stat().st_size for path in CHECKPOINT.iterdir()}
        if name == "pickled":
            sizes["pytorch_model.bin"] = sizes.pop("model.safetensors")
        if name == "huge":
            sizes["model.safetensors"] = HUGE
        files = [{"rfilename": file, "size": size} for file, size in sizes.items()]
        return {"id": f"owner/{name}", "sha": COMMIT, "siblings": files}

    def answer(self, status, error="", said=SAID, body=b""):
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        if status != 200:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", said)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ.update(
        HF_ENDPOINT=f"http://127.0.0.1:{server.server_address[1]}",
        HF_HOME=HOME,
        HF_HUB_OFFLINE="0",
        HF_TOKEN=TOKEN,
    )
    import torch

    from bench.errors import InputError
    from bench.models.loading import load_base
    from bench.models.settings import ModelSettings

    def load(case, path, revision=None):
        settings = ModelSettings("m", path, revision, "float32", None, False)
        try:
            model, _ = load_base(settings, torch.device("cpu"))
            told = {"commit": model.commit}
        except InputError as error:
            told = {"error": str(error), "cause": repr(error.__cause__ or error.__context__)}
            told["hidden"] = error.__suppress_context__
        print(json.dumps({"case": case, **told}), flush=True)

    load("gone", "owner/good", "gone")
    load("gone commit", "owner/good", "f" * 40)
    for name in (*REFUSED, "gated", "pickled", "huge"):
        load(name, f"owner/{name}")
    load("no id", "owner/a b")
    load("good", "owner/good")
    Hub.gone = True
    server.shutdown()
    server.server_close()
    load("cached", "owner/good")
    load("cached commit", "owner/good", COMMIT)
    load("unreachable", "owner/another")
    load("unreachable commit", "owner/another", COMMIT)


if __name__ == "__main__":
    main()
