"""One corpus on threads, on a pool of processes and on a Dask cluster of two processes: the same bytes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time

import dask
import psutil
import pytest
from distributed import Client
from prefect.settings import PREFECT_API_URL, temporary_settings

from data.errors import TextmillError
from flows.corpus import corpus
from flows.recipe import Recipe
from tasks.cluster_check import check_cluster, describe_worker
from tasks.local_cluster import STARTS, start_cluster
from tasks.run import Run
from tasks.runner import AHEAD, Runner
from tasks.runtime import Runtime, open_store
from tests.kill_harness import damages, payloads, recipe, write_texts

pytest.importorskip("prefect_dask", reason="the extra `dask` is not installed")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runners")
    write_texts(folder / "texts")
    return folder / "texts"


def build(texts, root, **runtime):
    whole = Recipe.model_validate(recipe(texts))
    return corpus(recipe=whole, runtime=Runtime(store=str(root), workers=2, **runtime))


@pytest.fixture(scope="module")
def in_threads(flow_server, texts):
    root = texts.parent / "threads"
    build(texts, root)
    return payloads(root)


def of_this_process(name):
    """Processes below this one whose command holds `name`; one that has ended, and nobody has asked how, is none."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [one] if any(name in word for word in one.cmdline()) else []
    return found


def test_a_dask_cluster_makes_the_same_and_a_rerun_starts_none(in_threads, texts, tmp_path, monkeypatch):
    build(texts, tmp_path, runner="dask")
    assert payloads(tmp_path) == in_threads
    assert of_this_process("multiprocessing.spawn") == []
    monkeypatch.setattr("tasks.runner._dask", lambda runtime: pytest.fail("nothing was to be built"))
    assert all(build(texts, tmp_path, runner="dask")["cached"].values())


@pytest.mark.long
def test_a_pool_of_processes_makes_the_same(in_threads, texts, tmp_path):
    build(texts, tmp_path, runner="processes")
    assert payloads(tmp_path) == in_threads


@contextlib.contextmanager
def killing(*when):
    """Kill one worker process of ours for each of `when`, as soon as it holds and there is one; yields those killed."""
    killed = []

    def kill():
        deadline = time.monotonic() + 200
        while len(killed) < len(when) and time.monotonic() < deadline and not over.wait(0.01):
            workers = of_this_process("multiprocessing.spawn") if when[len(killed)]() else []
            if workers and workers[-1].pid not in killed:
                os.kill(workers[-1].pid, signal.SIGKILL)
                killed.append(workers[-1].pid)

    over = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        over.set()
        killer.join()


def at_once():
    """Long before a worker that has just been started is up: that takes it more than a second."""
    return True


@pytest.mark.usefixtures("flow_server")
def test_a_worker_that_dies_while_the_cluster_starts_is_survived(tmp_path, caplog):
    runner = Runner(Runtime(runner="dask", workers=1), tmp_path)
    with killing(at_once) as killed:
        assert runner.at_once == AHEAD
    assert len(killed) == 1 and "did not start (1 of 4" in caplog.text
    runner.close()
    assert of_this_process("multiprocessing.spawn") == []


@pytest.mark.usefixtures("flow_server")
def test_workers_that_die_at_every_start_end_the_run_with_one_line(tmp_path):
    runner = Runner(Runtime(runner="dask", workers=2), tmp_path)
    with (
        killing(*[at_once] * 100) as killed,
        pytest.raises(TextmillError, match=r"in 4 starts .*lack of memory.*runtime\.workers") as caught,
    ):
        _ = runner.at_once
    assert len(killed) >= STARTS and "\n" not in str(caught.value)
    runner.close()
    assert of_this_process("multiprocessing.spawn") == []


@pytest.mark.long
def test_a_worker_that_dies_while_it_is_started_again_is_survived(monkeypatch):
    with start_cluster(1) as cluster, Client(cluster) as client:
        first = client.submit(os.getpid, pure=False).result()
        with killing(at_once, at_once, at_once) as killed:
            while len(killed) < 3:
                time.sleep(0.01)
        assert killed[0] == first
        assert client.submit(os.getpid, pure=False).result(timeout=60) not in killed

        cluster.sync(cluster.workers[0].close)  # as Dask does with one that it gives up
        while cluster.scheduler.workers:
            time.sleep(0.01)
        answer = client.submit(os.getpid, pure=False)
        begun = time.monotonic()
        assert cluster.look_after(begun) == begun  # none was there
        last = answer.result(timeout=60)
        assert last not in killed

        monkeypatch.setattr("tasks.local_cluster.PATIENCE", 60.0)
        assert cluster.look_after(begun - 61) >= begun
        os.kill(last, signal.SIGKILL)
        while cluster.scheduler.workers:
            time.sleep(0.01)
        with pytest.raises(TextmillError, match=r"No worker .*stayed alive for 60 s.*runtime\.workers"):
            cluster.look_after(time.monotonic() - 61)
    assert of_this_process("multiprocessing.spawn") == []


@pytest.mark.long
def test_a_worker_that_is_killed_in_the_middle_is_survived(in_threads, texts, tmp_path):
    def building():
        return list((tmp_path / "work").glob("raw-*"))

    def documents():
        return list(tmp_path.glob("documents/*"))

    with killing(at_once, building, documents) as killed:
        build(texts, tmp_path, runner="dask")
    assert len(killed) == 3
    assert payloads(tmp_path) == in_threads
    assert damages(tmp_path) == []
    assert of_this_process("multiprocessing.spawn") == []


@pytest.mark.long
def test_the_workers_of_a_killed_flow_leave(flow_server, texts, tmp_path):
    command = [sys.executable, "-m", "flows", "run", "folder", f"--path={texts}", "--until=tokens", "--runner=dask"]
    command += ["--set=sources.folder.slot_bytes=10000"]
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value(), "TEXTMILL_STORE": str(tmp_path / "store")}
    flow = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (tmp_path / "store" / "raw").exists():
        assert flow.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    family = psutil.Process(flow.pid).children(recursive=True)
    assert family
    flow.kill()
    flow.wait()
    assert psutil.wait_procs(family, 60)[1] == []


@pytest.fixture
def scheduler(tmp_path, texts):
    """A scheduler and a worker as a cluster has them, started by Dask's own commands; yields the address."""
    from distributed.deploy.local import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None, processes=True) as cluster:
        yield cluster.scheduler_address


@pytest.mark.long
def test_a_cluster_by_its_address(in_threads, texts, tmp_path, scheduler):
    build(texts, tmp_path, runner="dask", dask_address=scheduler)
    assert payloads(tmp_path) == in_threads


class Cluster:
    """Stands in for a client whose workers answer what a test says; `run` calls the function here, as they would."""

    def __init__(self, **answer):
        self.answer = answer
        self.scheduler = type("Scheduler", (), {"address": "tcp://10.0.0.1:8786"})

    def wait_for_workers(self, count, timeout):
        if "late" in self.answer:
            raise TimeoutError

    def run(self, function, *arguments):
        return {"tcp://10.0.0.2:1": function(*arguments) | self.answer}

    def ncores(self):
        return {"tcp://10.0.0.2:1": 3, "tcp://10.0.0.3:1": 4}


@pytest.mark.usefixtures("flow_server")
def test_a_worker_that_does_not_fit_is_named_with_both_values(tmp_path):
    for answer, words in (
        ({"store": "not seen"}, "10.0.0.2:1 does not see the store"),
        ({"server": "refused"}, r"10.0.0.2:1 cannot reach .*refused.*--host"),
        ({"gigatoken": "0.1"}, r"10.0.0.2:1 has gigatoken 0\.1, but here it is \d.*constraints"),
        ({"late": "yes"}, "No worker came to .*10.0.0.1:8786"),
    ):
        with pytest.raises(TextmillError, match=words):
            check_cluster(Cluster(**answer), tmp_path)
        assert list((tmp_path / "work").glob("*")) == []
    assert check_cluster(Cluster(), tmp_path) == 7


def test_a_scheduler_that_does_not_answer_is_named(tmp_path):
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        dask.config.set({"distributed.comm.timeouts.connect": "200 ms"}),
        pytest.raises(TextmillError, match=r"dask_address is tcp://127\.0\.0\.1:9, but no Dask scheduler answers"),
    ):
        _ = Runner(Runtime(runner="dask", dask_address="tcp://127.0.0.1:9"), tmp_path).at_once


def test_what_is_not_there_is_said(tmp_path):
    with temporary_settings({PREFECT_API_URL: None}):
        for runner in ("dask", "processes"):
            with pytest.raises(TextmillError, match=f"{runner}, but PREFECT_API_URL is not set.*make up"):
                _ = Run("test", Runtime(store=str(tmp_path), runner=runner)).runner
    with pytest.raises(TextmillError, match=r"dask_address is tcp://a:1, but runtime\.runner is threads"):
        _ = Run("test", Runtime(store=str(tmp_path), dask_address="tcp://a:1")).runner
    told = describe_worker(str(tmp_path / "nowhere"), "http://127.0.0.1:9/api")
    assert told["store"] == "not seen" and re.search("refused", told["server"])
    assert open_store(str(tmp_path)).stages() == []
