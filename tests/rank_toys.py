"""Several processes of one run, forked from the tests, so that torch is loaded only once."""

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpt.ranks import ALONE, Ranks

PATIENCE = 60.0  # seconds


def together(count: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What `work` returns in each of `count` processes that can talk to each other; one is this process itself."""
    if count == 1:
        return [work(ALONE)]
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        ends = [fork.Pipe(duplex=False) for _ in range(count)]
        processes = [
            fork.Process(target=_run, args=(number, count, Path(folder) / "store", work, ends[number][1]))
            for number in range(count)
        ]
        for process in processes:
            process.start()
        try:
            answers = [end.recv() if end.poll(PATIENCE) else ("late", "no answer") for end, _ in ends]
        finally:
            for process in processes:
                process.kill()
                process.join()
    failures = [text for state, text in answers if state != "done"]
    assert not failures, "\n".join(map(str, failures))
    return [answer for _, answer in answers]


def _run(number: int, count: int, store: Path, work: Callable[[Ranks], Any], answer: Any) -> None:
    from torch import distributed

    try:
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=number, world_size=count)
        answer.send(("done", work(Ranks(number, count))))
        distributed.barrier()  # nobody leaves before the others have heard all
    except BaseException:
        answer.send(("failed", traceback.format_exc()))
