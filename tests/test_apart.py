"""Functions in processes of their own: what comes back, what goes wrong, and that nobody is left behind."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from data.apart import Processes
from data.errors import TextmillError
from data.facts import no_progress
from data.sources import secrets
from data.sources.base import SourceError
from data.web.errors import WebError

ROOT = Path(__file__).parents[1]


def summed(numbers, progress):
    for done, _ in enumerate(numbers):
        progress(done, len(numbers), "numbers")
    return sum(numbers), os.getpid()


def failing(how, progress):
    if how == "named":
        raise SourceError("nothing there")
    if how == "odd":
        raise WebError("http://x.example/?key=1", "it is closed")
    if how == "defect":
        raise KeyError("a")
    os.kill(os.getpid(), 9)


def told(name, progress):
    return secrets.secret(name)


def asleep(progress):
    progress(0, 0, "started")
    time.sleep(600)


@pytest.fixture(scope="module")
def processes():
    with Processes() as made:
        yield made


def test_results_and_progress_come_back_from_another_process(processes):
    seen = []
    total, process = processes.call(summed, [1, 2, 3], progress=lambda *one: seen.append(one))
    assert total == 6 and process != os.getpid()
    assert seen == [(0, 3, "numbers"), (1, 3, "numbers"), (2, 3, "numbers")]
    assert processes.call(summed, [], progress=no_progress) == (0, process), "it is kept"


def test_errors_come_back_as_what_they_are(processes):
    with pytest.raises(SourceError, match="nothing there"):
        processes.call(failing, "named", progress=no_progress)
    with pytest.raises(TextmillError, match=r"x\.example/\?key=\.\.\.: it is closed"):
        processes.call(failing, "odd", progress=no_progress)
    with pytest.raises(KeyError):
        processes.call(failing, "defect", progress=no_progress)
    with pytest.raises(TextmillError, match=r"exit code -9.*runtime\.workers"):
        processes.call(failing, "killed", progress=no_progress)
    assert processes.call(summed, [4], progress=no_progress)[0] == 4


def test_secrets_are_asked_back(processes, monkeypatch):
    monkeypatch.setattr(secrets, "elsewhere", [{"MILL_KEY": "from a block"}.get])
    assert processes.call(told, "MILL_KEY", progress=no_progress) == "from a block"
    with pytest.raises(SourceError, match="MILL_OTHER is not set"):
        processes.call(told, "MILL_OTHER", progress=no_progress)


def test_calls_of_several_threads_run_at_once():
    with Processes() as processes, ThreadPoolExecutor(2) as pool:
        meet = threading.Barrier(2, timeout=60)
        calls = [pool.submit(processes.call, summed, [n], progress=lambda *_: meet.wait()) for n in (1, 2)]
        results = [call.result() for call in calls]
    assert [total for total, _ in results] == [1, 2] and results[0][1] != results[1][1]
    assert not any(psutil.pid_exists(process) for _, process in results), "closing ends them"


def test_closing_ends_calls_under_way():
    with ThreadPoolExecutor(1) as pool:
        with Processes() as processes:
            started = threading.Event()
            call = pool.submit(processes.call, asleep, progress=lambda *_: started.set())
            assert started.wait(60)
        with pytest.raises(TextmillError):
            call.result(60)
    with pytest.raises(TextmillError, match="stopped"):
        processes.call(summed, [1], progress=no_progress)


def test_no_process_outlives_its_starter():
    code = (
        "from tests.test_apart import *\n"
        "processes = Processes()\n"
        "processes.call(asleep, progress=lambda *_: print('started', flush=True))"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert starter.stdout.readline() == "started\n"
    family = psutil.Process(starter.pid).children(recursive=True)
    assert family
    starter.kill()
    starter.wait()
    assert psutil.wait_procs(family, 30)[1] == []
