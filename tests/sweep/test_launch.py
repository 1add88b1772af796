"""Workers of a sweep."""

import os
import signal
import subprocess
import sys
import time

SWEEP = """
import multiprocessing, os, sys, time
from bench.sweep import launch

def work(pid):
    launch.CHECK = 0.1
    launch.end_with_sweep(pid)
    print(os.getpid(), flush=True)
    while True:
        sum(range(10**6))

multiprocessing.get_context("fork").Process(target=work, args=(os.getpid(),)).start()
time.sleep(100)
"""


def test_a_worker_ends_with_its_sweep_in_the_middle_of_its_work():
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP], stdout=subprocess.PIPE, text=True)
    worker = int(sweep.stdout.readline())
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    limit = time.monotonic() + 30
    while _runs(worker):
        assert time.monotonic() < limit
        time.sleep(0.05)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # nobody may wait for it
    except FileNotFoundError:
        return False


def test_the_sweep_itself_is_not_watched():
    from bench.sweep.launch import end_with_sweep

    end_with_sweep(os.getpid() + 1)
