"""Joining ranges of hashes as tasks of the flow's runner: the same lists as in one piece, wherever they are joined."""

import random
from contextlib import closing

import numpy as np
import pytest
from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

import data.boilerplate.join
import data.near.join
from data.boilerplate.config import LinesConfig
from data.boilerplate.tables import LineWriter
from data.near.config import NearConfig
from tasks import duplicates, ranges
from tasks.progress import watch_with
from tasks.runner import Runner
from tasks.runtime import Runtime
from tests.near_toys import edited, words, write_slots

pytestmark = pytest.mark.usefixtures("flow_server")


class Watching:
    """Remembers how far the stage as a whole was said to be."""

    def __init__(self):
        self.seen = []

    def progress(self, stage, label, done, total, unit, note):
        self.seen.append((stage, label, done, total, unit))


@pytest.fixture
def slots(tmp_path):
    """Folders of documents with band tables and tables of lines; half of the texts are near copies."""
    rng = random.Random(1)
    pool = [words(300, rng) for _ in range(20)]
    texts = [[" ".join(edited(rng.choice(pool), 2, rng)) for _ in range(20)] for _ in range(3)]
    folders = write_slots(tmp_path, texts)
    for folder, its in zip(folders, texts, strict=True):
        writer = LineWriter(LinesConfig(min_characters=3))
        writer.add(["\n".join("".join(rng.choices("abc", k=4)) for _ in range(30)) for _ in its])
        writer.write(folder)
    return folders


def lists_of(folders, kind="threads"):
    """What both joins find for the last two of three slots, on a runner of two workers, as bytes."""

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2), persist_result=False)
    def join():
        with closing(Runner(Runtime(workers=2, runner=kind), folders[0].parent)) as runner:
            near = duplicates._near_matches(folders, [1, 2], NearConfig(), runner)
            few = LinesConfig(min_characters=3, max_occurrences=1)
            lines = duplicates._frequent_lines(folders, [1, 2], few, runner)
        return [column.tobytes() for slot in (1, 2) for column in (*near[slot], *lines[slot])]

    return join()


@pytest.fixture
def in_many_ranges(monkeypatch):
    monkeypatch.setattr(data.near.join, "_ENTRIES_AT_ONCE", 100)
    monkeypatch.setattr(data.boilerplate.join, "_ENTRIES_AT_ONCE", 30)


def test_one_range_needs_no_task_and_many_are_one_task_each(slots, monkeypatch, request):
    with monkeypatch.context() as patched:
        patched.setattr(ranges, "join_ranges", None)  # nothing may be submitted
        at_once = lists_of(slots)
    assert len(np.frombuffer(at_once[0], np.int64)) > 5 and len(at_once[5]) > 80  # something is found
    request.getfixturevalue("in_many_ranges")
    names, submit = [], ranges.join_ranges.submit
    monkeypatch.setattr(
        ranges.join_ranges,
        "submit",
        lambda **given: names.append(f"{given['stage']} {given['label']}") or submit(**given),
    )
    watching = Watching()
    with watch_with(watching):
        assert lists_of(slots) == at_once
    near = [f"duplicates ranges of near duplicates {number}/9" for number in range(1, 10)]  # 3 x 20 x 14 by 100
    assert names[:9] == near
    assert names[9:] and all(name.startswith("duplicates ranges of lines ") for name in names[9:])
    assert len(names[9:]) == -(-len(data.boilerplate.join.LineIndex(slots, [1, 2], 1).ranges()) // 8)
    assert ("duplicates", "", 9, 9, "ranges of near duplicates") in watching.seen


@pytest.mark.usefixtures("in_many_ranges")
def test_a_range_that_fails_ends_the_stage_with_its_own_error(slots):
    np.save(slots[0] / "near-rows.npy", np.zeros(3, np.int64))
    with pytest.raises(data.arrays.UnusableArrayError, match=r"near-rows\.npy holds int64"):
        lists_of(slots)


@pytest.mark.long
@pytest.mark.usefixtures("in_many_ranges")
def test_a_dask_cluster_finds_the_same(slots):
    pytest.importorskip("prefect_dask", reason="prefect-dask is not installed")
    assert lists_of(slots, "dask") == lists_of(slots)
