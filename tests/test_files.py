"""Locks."""

import multiprocessing
import time

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


def test_a_free_lock_says_nothing(tmp_path, capsys):
    for _ in range(2):
        with files.locked(tmp_path / "lock", "it"):
            pass
    assert not capsys.readouterr().out
