"""Locks, and files that are replaced."""

import multiprocessing
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from bench import files


def hold(path, held):
    with files.locked(path, "it"):
        held.set()
        time.sleep(1)


def test_a_process_that_waits_for_a_lock_says_for_whom(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "SILENT", 0.05)
    context = multiprocessing.get_context("fork")
    held = context.Event()
    other = context.Process(target=hold, args=(tmp_path / "lock", held))
    other.start()
    assert held.wait(30)
    with files.locked(tmp_path / "lock", "the run lora seed 0"):
        other.join()
    printed = capsys.readouterr().out
    assert printed.startswith(f"waiting for the run lora seed 0, in use by process {other.pid} on ")
    assert " since 2" in printed
    with files.locked(tmp_path / "lock", "it"):  # free
        pass
    assert not capsys.readouterr().out


def test_a_lock_whose_folder_is_removed_by_its_holder_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SILENT", 0.05)
    path, released = tmp_path / "run" / "lock", threading.Event()
    path.parent.mkdir()

    def wait():
        with files.locked(path, "the run"):
            assert released.is_set()

    with ThreadPoolExecutor() as pool:
        with files.locked(path, "the run"):
            waiting = pool.submit(wait)
            time.sleep(0.3)
            released.set()
            shutil.rmtree(path.parent)
        waiting.result(30)


def test_what_a_killed_writer_left_is_removed_by_a_later_one(tmp_path):
    left, recent, other = (
        tmp_path / f".{name}.partial"
        for name in ("hashes[1].json.999999", "hashes[1].json.999998", "other.json.999999")
    )
    for path in (left, recent, other):
        path.write_text("{")
    long_ago = time.time() - files.STALE - 60
    os.utime(left, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))
    files.write_json(tmp_path / "hashes[1].json", {"a": 1})
    assert {path.name for path in tmp_path.iterdir()} == {
        "hashes[1].json", recent.name, other.name,
    }  # fmt: skip
    assert files.read_cache(tmp_path / "hashes[1].json") == {"a": 1}


def test_a_cache_that_is_damaged_or_nested_too_deeply_is_none(tmp_path):
    path = tmp_path / "cache.json"
    assert files.read_cache(path) is None
    for content in (b"{", b"[]", b'{"a":' * 100_000, b"\xff"):
        path.write_bytes(content)
        assert files.read_cache(path) is None
