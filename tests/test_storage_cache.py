"""Copies of artifacts on this machine: fetched once, within a size, and never taken from who uses them."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data.storage.cache import Cache

PROJECT = Path(__file__).resolve().parents[1]
SIZE = 1000


def fetching(letter, log=None):
    def fetch(to):
        if log is not None:
            log.append(letter)
        (to / "data").write_text(letter * (SIZE - 10))

    return fetch


def hold(cache, letter, version="version 1", log=None):
    return cache.hold(f"toy/{letter}-0", version, SIZE, fetching(letter, log))


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 3 * SIZE)


def letters(cache):
    return "".join(sorted(path.name[0] for path in cache.folder.glob("toy/*")))


def last_used(cache, order):
    for number, letter in enumerate(order):
        os.utime(cache.place(f"toy/{letter}-0") / "manifest.json", (number, number))


def test_what_is_here_is_not_fetched_again(cache):
    log = []
    for one in (cache, cache, Cache(cache.folder, cache.limit)):
        assert (hold(one, "a", log=log) / "data").read_text() == "a" * (SIZE - 10)
    assert log == ["a"]
    hold(cache, "a", "version 2", log)
    assert log == ["a", "a"]


def test_the_longest_unused_goes_first(cache):
    for letter in "abc":
        hold(cache, letter)
        cache.release(f"toy/{letter}-0")
    last_used(cache, "bca")
    hold(cache, "d")
    assert letters(cache) == "acd"
    assert list((cache.folder / ".trash").iterdir()) == []


def test_what_is_in_use_stays_even_over_the_limit(cache, caplog):
    for letter in "abcd":
        hold(cache, letter)
    assert letters(cache) == "abcd"
    assert "over its" in caplog.text
    cache.release("toy/b-0")
    hold(cache, "a")  # a second time
    cache.release("toy/a-0")
    cache.make_room(0)
    assert letters(cache) == "acd"


HOLDING = """
import sys, time
from pathlib import Path
from tests.test_storage_cache import Cache, hold
hold(Cache(Path(sys.argv[1]), 3000), "a")
print("ready", flush=True)
time.sleep(60)
"""


def test_another_process_keeps_what_it_uses_until_it_is_killed(cache):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    other = subprocess.Popen([sys.executable, "-c", HOLDING, cache.folder], env=environment, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"ready\n"
    for letter in "bcd":
        hold(cache, letter)
        cache.release(f"toy/{letter}-0")
        last_used(cache, letters(cache))
    assert letters(cache) == "acd"
    other.kill()
    other.wait()
    hold(cache, "e")
    assert letters(cache) == "cde"


def test_threads_that_want_the_same_fetch_it_once(cache):
    log, meeting = [], threading.Barrier(6)

    def want():
        meeting.wait()
        hold(cache, "a", log=log)

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log == ["a"]


def test_a_cut_download_is_not_seen_and_is_gone_on_with(cache):
    def cut(to):
        (to / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.hold("toy/a-0", "version 1", SIZE, cut)
    assert letters(cache) == ""

    def go_on(to):
        assert [path.name for path in to.iterdir()] == ["half"]

    assert (cache.hold("toy/a-0", "version 1", SIZE, go_on) / "half").exists()


def test_cut_downloads_make_room_too(cache):
    partial = cache.folder / ".fetching" / "toy+x-0"
    partial.mkdir(parents=True)
    (partial / "data").write_bytes(bytes(SIZE))
    for letter in "abcd":
        hold(cache, letter)
        cache.release(f"toy/{letter}-0")
    assert not partial.exists()


def test_a_folder_that_was_built_here_is_taken_as_it_is(cache, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("version 1")
    cache.take(tmp_path / "out", "toy/a-0")
    assert hold(cache, "a") == cache.place("toy/a-0")
    assert cache.entries() == ["toy/a-0"]
    cache.drop("toy/a-0")
    assert cache.entries() == []
