"""Building the units of a stage: who is told to stop takes the threads along that build beside it."""

import os
import signal
import threading
import time

import pytest
from prefect import flow

from data import ending
from data.facts import Facts
from data.web.pacing import PACER
from flows.start import TASK_RUNNER
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.units import Unit, run_units

pytestmark = pytest.mark.usefixtures("flow_server")


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
    ending.reset()


def waits_as_a_server_asked(build, progress):
    PACER.clock.sleep(120)
    return Facts()


def goes_on_and_on(build, progress):
    for step in range(1_200):
        progress(step, 1_200, "bytes")
        time.sleep(0.1)
    return Facts()


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_what_other_threads_wait_for_or_work_at(tmp_path):
    run = Run("test", Runtime(store=str(tmp_path / "store"), workers=2))
    makes = [waits_as_a_server_asked, goes_on_and_on]
    units = [Unit(f"u-{n}", f"u {n}", identity("raw", {"n": n}, {}), (), make) for n, make in enumerate(makes)]

    @flow(task_runner=TASK_RUNNER, persist_result=False)
    def of_two_parts():
        threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()  # wakes the main thread, too
        run_units(run, "raw", units)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        of_two_parts()
    assert time.monotonic() - begun < 60
    assert not list((tmp_path / "store").glob("raw/*"))


def test_after_an_ended_run_the_next_one_waits_again():
    ending.begin()
    with pytest.raises(ending.EndingError):
        ending.sleep(60)
    ending.reset()
    ending.check()
    ending.sleep(0)
