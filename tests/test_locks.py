import fcntl
import os
import signal
import threading
import time

import pytest

from data.locks import holder, owner_lock, owner_lock_if_free
from tests.store_toys import start, wait_until_ready


def test_processes_never_hold_a_lock_together(tmp_path):
    number = tmp_path / "number"
    number.write_text("0")
    processes = [start("count_under_lock", tmp_path, number) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert number.read_text() == "60"


def test_threads_never_hold_a_lock_together(tmp_path):
    number = [0]

    def count():
        for _ in range(5):
            with owner_lock(tmp_path / "lock"):
                seen = number[0]
                time.sleep(0.002)
                number[0] = seen + 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number == [20]


def test_a_killed_holder_lets_go(tmp_path):
    lock = tmp_path / "lock"
    process = start("hold_lock", tmp_path, tmp_path / "log")
    wait_until_ready(process)
    with owner_lock_if_free(lock) as free:
        assert not free
    process.kill()
    process.wait()
    assert lock.exists()  # nobody was there to remove it
    with owner_lock(lock, on_wait=lambda who: pytest.fail(f"waited for {who}")):
        assert holder(lock) == f"process {os.getpid()} on {os.uname().nodename}"
    assert not lock.exists()


def test_whoever_waits_is_told_once_for_whom(tmp_path):
    process = start("hold_lock", tmp_path, tmp_path / "log")
    wait_until_ready(process)
    told = []
    threading.Timer(0.5, os.kill, (process.pid, signal.SIGKILL)).start()
    with owner_lock(tmp_path / "lock", told.append):
        pass
    process.wait()
    assert told == [f"process {process.pid} on {os.uname().nodename}"]


def test_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    path, flock, calls = tmp_path / "lock", fcntl.flock, []

    def lock_too_late(descriptor, operation):
        calls.append(descriptor)
        if len(calls) == 1:  # the holder removes the file between our opening and our locking it
            path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    with owner_lock(path), owner_lock_if_free(path) as free:
        assert not free


def test_a_lock_is_let_go_when_its_block_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), owner_lock(tmp_path / "lock"):
        raise KeyboardInterrupt
    with owner_lock_if_free(tmp_path / "lock") as free:
        assert free
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_named_when_the_holder_cannot_be_read(tmp_path):
    assert holder(tmp_path / "none") == "another process"
    (tmp_path / "empty").touch()
    assert holder(tmp_path / "empty") == "another process"
