"""Functions of this floor run in processes of their own, since Python lets one thread at a time run in each.

A process is `python -m data.apart FD`: it takes calls from the pipe FD and answers with what it tells on the way and
what came of it. It is kept for further calls, asks back for secrets that are not in the environment, and leaves when
the pipe ends, as it does when whoever started it is gone, however that ended.
"""

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, TypeVar

from data.errors import TextmillError
from data.facts import Progress
from data.sources import secrets

T = TypeVar("T")

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Processes(AbstractContextManager["Processes"]):
    """Processes for calls from several threads: each thread's call runs in one of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._all: list[_Process] = []
        self._closed = False

    def call(self, function: Callable[..., T], *arguments: Any, progress: Progress) -> T:
        """`function(*arguments, progress=progress)`, run apart; function and arguments must be fit for pickle.

        Raises what the function raises, and TextmillError when its process dies.
        """
        with self._lock:
            if self._closed:
                raise TextmillError("The run has been stopped.")
            process = self._idle.pop() if self._idle else self._started()
        try:
            result: T = process.call(function, arguments, progress)
        except BaseException:
            process.stop()
            raise
        with self._lock:
            self._idle.append(process)
        return result

    def _started(self) -> "_Process":
        process = _Process()
        self._all.append(process)
        return process

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
        for process in self._all:
            process.stop()


class _Process:
    """One process, with our end of its pipe."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "data.apart", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C at the terminal is ours to pass on
                env=os.environ | _ONE_THREAD,
            )

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], progress: Progress) -> Any:
        self._send((function, arguments))
        while True:
            what, value = self._received()
            if what == "progress":
                progress(*value)
            elif what == "secret":
                self._send(_look_up(value))
            elif what == "failed":
                raise value
            else:
                return value

    def _send(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError as error:
            raise self._death() from error

    def _received(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error

    def _death(self) -> TextmillError:
        code = self._process.wait()
        why = ", as the kernel does when memory runs out: lower runtime.workers" if code == -signal.SIGKILL else ""
        return TextmillError(f"A process of this run ended with exit code {code}{why}. Then run again.")

    def stop(self) -> None:
        """End it at once, which also ends a call under way: what it was building is swept as that of any killed run."""
        self._process.kill()
        self._process.wait()


def _look_up(name: str) -> str | None:
    return next((found for place in secrets.elsewhere if (found := place(name))), None)


def main() -> None:
    """Take calls until the pipe ends."""
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def receive() -> None:
        while True:
            try:
                received.put(pipe.recv())
            except (EOFError, OSError):
                os._exit(0)

    def ask(name: str) -> str | None:
        pipe.send(("secret", name))
        answer: str | None = received.get()
        return answer

    secrets.elsewhere.append(ask)
    threading.Thread(target=receive, daemon=True).start()
    while True:
        function, arguments = received.get()
        try:
            answer = ("done", function(*arguments, progress=lambda *told: pipe.send(("progress", told))))
        except Exception as error:
            answer = ("failed", _portable(error))
        pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same where pickle cannot bring it over."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:
        pass
    return TextmillError(str(error)) if isinstance(error, TextmillError) else RuntimeError(repr(error))


if __name__ == "__main__":
    main()
