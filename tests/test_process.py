"""Living with a command of the gpt floor: what it says reaches us, and its end, however it comes, is explained."""

import _thread
import json
import signal
import threading
import time
from pathlib import Path

import pytest

import tasks.process
from data.errors import TextmillError
from tasks.process import run_gpt
from tasks.progress import watch_with


class Listener:
    """Keeps the notes; progress is of no interest here."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def run(folder: Path, **job):
    """Run the fake command; returns the records and notes that arrived."""
    paths = {name: str(folder / name) for name in ("metrics", "started", "saved")}
    (folder / "JOB.json").write_text(json.dumps(job | paths))
    records, listener = [], Listener()
    with watch_with(listener):
        run_gpt("tests.fake_gpt", folder / "JOB.json", folder / "log", folder / "metrics", records.append)
    return records, listener.notes


def test_records_and_words_arrive_but_steps_only_once(tmp_path):
    (tmp_path / "metrics").write_text('{"step": 0}\n')  # of an earlier run
    said = ["modern: 5 parameters", "step 1/2  loss 3.0", "Scoring"]
    records, notes = run(tmp_path, say=said, records=[{"step": 1}, {"step": 2}])
    assert records == [{"step": 1}, {"step": 2}]
    assert notes == ["modern: 5 parameters", "Scoring"]
    assert (tmp_path / "log").read_text().splitlines() == said


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"code": 1, "say": ["tests.fake_gpt: steps is -1"]}, r"^tests\.fake_gpt: steps is -1$"),
        ({"code": 3, "say": ["a", "b"]}, r"failed with exit code 3: b$"),
        ({"code": 2}, r"exit code 2: it said nothing$"),
        ({"code": 75, "say": ["Stopped"]}, r"stopped from outside and has saved: .*same command.*Stopped"),
        ({"signal": signal.SIGKILL}, r"was killed, (not by the kernel: run the same|as the kernel does)"),
        ({"signal": signal.SIGSEGV, "say": ["step 3/9 "]}, r"ended by SIGSEGV: .*go on from its checkpoint.*step 3/9"),
    ],
)
def test_an_end_that_is_none_says_why(tmp_path, job, words):
    (tmp_path / "log").write_text("what an earlier run said\n")
    with pytest.raises(TextmillError, match=words):
        run(tmp_path, **job)


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_when_started(folder: Path) -> None:
    """Do to this process's main thread what Ctrl-C does, as soon as the command runs."""

    def wait() -> None:
        while not (folder / "started").exists():
            time.sleep(0.01)
        time.sleep(0.1)
        _thread.interrupt_main()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_lets_the_command_save(tmp_path):
    interrupt_when_started(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, sleep=60)
    assert (tmp_path / "saved").read_text() == "saved"


@pytest.mark.usefixtures("interruptible")
def test_a_command_that_does_not_leave_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks.process, "GRACE", 0.3)
    interrupt_when_started(tmp_path)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, sleep=60, deaf=True)
    assert time.monotonic() - begun < 30
    pid = int((tmp_path / "started").read_text())
    assert not Path(f"/proc/{pid}/status").exists(), "it is gone and reaped"
