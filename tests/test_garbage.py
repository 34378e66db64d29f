"""Garbage collected aside: a dead cursor whose connection waits for a lock must keep nobody waiting but the thread."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc, sqlite3, sys, threading, time
from flows.garbage import collect_aside

folder, how = sys.argv[1:]
gc.disable()
holder, waiting = (sqlite3.connect(folder + "/a.db", timeout=4, isolation_level=None, check_same_thread=False)
                   for _ in range(2))
holder.execute("begin immediate")
cursor = waiting.execute("values (1), (2)")
cursor.fetchone()
cycle = [cursor]
cycle.append(cycle)

def wait():
    try:
        waiting.execute("begin immediate")
    except sqlite3.OperationalError:
        pass

thread = threading.Thread(target=wait)
thread.start()
time.sleep(0.5)
del cursor, cycle
collect_aside() if how == "aside" else gc.enable()
started, kept = time.monotonic(), []
while time.monotonic() - started < 1:
    kept.append([])
    time.sleep(0.0001)
print(time.monotonic() - started)
holder.execute("rollback")
thread.join()
"""


@pytest.mark.parametrize(("how", "stands_still"), [("aside", False), ("as Python does", True)])
def test_a_dead_cursor_of_a_connection_that_waits(tmp_path, how, stands_still):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), how]
    seconds = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (seconds > 2.5) == stands_still, seconds


def test_cycles_are_collected():
    program = """
import gc, time, weakref
from flows.garbage import collect_aside

class Box: pass

def cycle():
    box = Box()
    box.itself = box
    return weakref.ref(box)

collect_aside()
assert not gc.isenabled()
alive = []
deadline = time.monotonic() + 30
while not alive or alive[0]() is not None:
    alive.append(cycle())
    assert time.monotonic() < deadline
"""
    subprocess.run([sys.executable, "-c", program], check=True)
