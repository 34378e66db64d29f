"""What else befalls a store and its runs: kills at random moments, neighbours, damaged files, clocks that jump."""

import os
import random
import shutil
import time

import pytest
from prefect import flow

from data.facts import Facts
from data.locks import owner_lock, owner_lock_if_free
from data.refs import KEPT_SNAPSHOTS, Refs
from data.store import Store
from data.verification import DamagedError
from flows.start import TASK_RUNNER
from gpt.checkpoint import Checkpoint, CheckpointStore
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.units import Unit, run_unit
from tests.kill_harness import STAGES, damages, payloads, wait_until_gone
from tests.kill_runs import KILLED, up_to
from tests.store_toys import fill, toy

DAY = 86_400.0
SLOW = ("model", "evaluation", "samples", "report")  # stages that take long, which others do not
FIRST = 2.0  # seconds within which a stage is killed that nobody has seen ending yet
KILLS = int(os.environ.get("TEXTMILL_TEST_KILLS", "100"))  # at random moments; chosen ones: tests/test_kill.py


def flip(path):
    """Change one bit in the middle of a file; its size and its times stay."""
    content, times = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def largest_file(folder):
    return max(
        (p for p in folder.rglob("*") if p.is_file() and "observed" not in p.parts), key=lambda p: p.stat().st_size
    )


# -- damaged files


def test_what_is_read_whole_is_compared_with_its_manifest_once(tmp_path):
    ref = Store(tmp_path).build(toy(), "x", fill)
    flip(Store(tmp_path).path(ref) / "deep" / "er" / "data.bin")
    store = Store(tmp_path)
    folder = store.path(ref)
    for _ in range(2):  # damage is not forgotten
        with pytest.raises(DamagedError) as caught:
            store.require_whole(ref)
    said = str(caught.value)
    assert f"{folder}/deep/er/data.bin sha256 is" in said and f"Delete the folder {folder}, then run the same" in said
    store.require_whole(ref, "table*")  # of another file nothing is said
    (folder / "table.parquet").unlink()
    store.require_whole(ref, "table*")  # once is enough for one run
    with pytest.raises(DamagedError, match=r"table\.parquet cannot be read: No such file"):
        Store(tmp_path).require_whole(ref, "table*")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DamagedError, match=r"manifest\.json is"):
        Store(tmp_path).require_whole(ref)


def test_damage_in_observations_stops_nothing(tmp_path):
    ref = Store(tmp_path).build(toy(), "x", fill)
    flip(Store(tmp_path).path(ref) / "observed" / "metrics.jsonl")
    Store(tmp_path).require_whole(ref)


@pytest.mark.usefixtures("flow_server")
def test_a_stage_names_a_damaged_input_before_or_after_it_stumbles_over_it(tmp_path):
    ref = Store(tmp_path).build(toy(), "x", fill)
    folder = Store(tmp_path).path(ref)
    flip(folder / "table.parquet")
    made = []

    def make(build, progress):
        made.append(build)
        raise ZeroDivisionError("what a library says of damaged bytes")

    @flow(task_runner=TASK_RUNNER)
    def reading(reads):
        run = Run("toy", Runtime(store=str(tmp_path)))
        run_unit(run, "plan", Unit("y", "y", identity("plan", {}, {}), (ref,), make, reads=reads))

    with pytest.raises(DamagedError, match=r"table\.parquet sha256"):
        reading({ref: "*"})
    assert not made
    with pytest.raises(DamagedError, match=r"table\.parquet sha256"):
        reading({})
    assert made
    shutil.rmtree(folder)
    Store(tmp_path).build(toy(), "x", fill)
    with pytest.raises(ZeroDivisionError):  # nothing is damaged, so the fault is another's
        reading({})


READ_BY = {
    "raw": "documents",
    "documents": "duplicates",
    "duplicates": "corpus",
    "corpus": "tokens",
    "tokenizer": "tokens",
    "tokens": "model",
    "model": "evaluation",
}


@pytest.mark.long
@pytest.mark.parametrize("stage", READ_BY)
def test_a_run_that_reads_a_damaged_artifact_says_which_and_how_to_mend_it(
    kill_runner, undisturbed, kill_folder, stage
):
    root = kill_folder / f"flipped-{stage}"
    up_to(undisturbed, READ_BY[stage], root)
    folder = sorted((root / stage).iterdir())[0]
    names = {"documents": "signatures.npy", "model": "model.safetensors", "duplicates": "*.npy"}
    damaged = largest_file(folder) if stage not in names else sorted(folder.glob(names[stage]))[0]
    flip(damaged)
    found = kill_runner.run(root)
    assert found.code == 1
    assert f"is damaged: {damaged} sha256 is" in found.output and f"Delete the folder {folder}" in found.output
    assert [damage.where for damage in Store(root).verify()] == [damaged]
    shutil.rmtree(folder)
    mended = kill_runner.run(root)
    assert mended.code == 0, mended.output
    assert payloads(root) == undisturbed.payloads and damages(root) == []


@pytest.mark.long
@pytest.mark.parametrize("stage", READ_BY)
def test_a_cut_artifact_is_built_again(kill_runner, undisturbed, kill_folder, stage):
    root = kill_folder / f"cut-{stage}"
    shutil.copytree(undisturbed.root, root)
    cut = largest_file(sorted((root / stage).iterdir())[0])
    os.truncate(cut, cut.stat().st_size // 2)
    assert [damage.where for damage in Store(root).verify()] == [cut]
    mended = kill_runner.run(root)
    assert mended.code == 0, mended.output
    assert str(cut) in mended.output and "built again" in mended.output
    assert payloads(root) == undisturbed.payloads and damages(root) == []


# -- clocks that jump


def test_who_holds_a_lock_is_no_matter_of_time(tmp_path):
    path = tmp_path / "lock"
    with owner_lock(path):
        for time_ in (0.0, time.time() + 1000 * DAY):
            os.utime(path, (time_, time_))
            with owner_lock_if_free(path) as free:
                assert not free
    path.touch()
    os.utime(path, (time.time() + DAY,) * 2)  # of a holder that was killed, from the future
    with owner_lock_if_free(path) as free:
        assert free


def test_the_newest_checkpoint_is_the_one_of_the_last_step(tmp_path):
    store = CheckpointStore(tmp_path, {})
    for step in (1, 2, 3):
        folder = store.save(Checkpoint(step, {}, {}, {}))
        for path in (folder, *folder.iterdir()):
            os.utime(path, (time.time() - step * DAY,) * 2)  # the clock goes backwards
    (tmp_path / "latest").unlink()
    assert CheckpointStore(tmp_path, {}).load(pytest.fail).step == 3


def test_a_pointer_keeps_its_value_however_the_clock_jumps(tmp_path):
    refs, token = Refs(tmp_path), None
    for number in range(2 * KEPT_SNAPSHOTS):
        token = refs.swap("x", token, number)
        snapshot = tmp_path / "x" / f"{token}.json"
        os.utime(snapshot, (time.time() - number * DAY,) * 2)
        assert Refs(tmp_path).read("x").value == number


def test_work_goes_on_whatever_the_time_of_its_files(tmp_path):
    for offset in (-1000 * DAY, 1000 * DAY):
        store, number = Store(tmp_path), int(offset)

        def stop(build):
            (build.keep / "half").write_text("half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.build(toy(number), "x", stop)
        for path in (tmp_path / "work").rglob("*"):
            os.utime(path, (time.time() + offset,) * 2)
        assert store.sweep() == []
        seen = []
        store.build(
            toy(number), "x", lambda build, seen=seen: seen.append((build.keep / "half").read_text()) or Facts()
        )
        assert seen == ["half"]


@pytest.mark.long
@pytest.mark.parametrize("offset", [-3 * DAY, 3 * DAY])
def test_a_run_goes_on_after_the_clock_has_jumped(kill_runner, undisturbed, kill_folder, offset):
    root = kill_folder / f"jumped-{offset}"
    draw, ended = random.Random(offset), None
    while ended is None or ended.code:
        ended = kill_runner.run(root, after=draw.uniform(1.0, 5.0) if ended is None else None)
        for path in root.rglob("*"):
            if path.exists():
                os.utime(path, (path.stat().st_mtime + offset,) * 2)
    assert payloads(root) == undisturbed.payloads
    again = kill_runner.run(root)
    assert again.code == 0 and "0 of" not in again.output, "all is there, whatever its age"
    assert payloads(root) == undisturbed.payloads and damages(root) == []


# -- kills and neighbours


@pytest.mark.long
def test_kills_at_random_moments(kill_runner, undisturbed, kill_folder):
    """Of every stage in turn, so that the libraries which trainers import for most of a run do not get most of them."""
    draw, kills, trials, processes, took = random.Random(5), 0, 0, set(), {}
    while kills < KILLS:
        stage = STAGES[trials % len(STAGES)]
        root, trials = kill_folder / f"moments-{trials}", trials + 1
        up_to(undisturbed, stage, root)
        for after in [*(draw.random() for _ in range(2 if stage in SLOW else 5)), None]:
            begun = time.monotonic()
            outcome = kill_runner.run(root, until=stage, after=after and 1.3 * after * took.get(stage, FIRST))
            processes |= outcome.processes
            if not outcome.code:
                break
            assert after and outcome.code == KILLED, outcome.output
            assert list(Store(root).verify()) == []
            kills += 1
        assert outcome.code == 0, outcome.output
        took[stage] = time.monotonic() - begun
        reached = STAGES[: STAGES.index(stage) + 1]
        assert payloads(root) == {k: v for k, v in undisturbed.payloads.items() if k.split("/")[0] in reached}
        assert damages(root) == []
        shutil.rmtree(root)
    print(f"{kills} kills in {trials} stages")
    assert wait_until_gone(processes, 20) == set()


@pytest.mark.long
@pytest.mark.parametrize("stage", ["raw", "tokens", "model"])
def test_two_runs_of_one_recipe_at_once_both_end_well(kill_runner, undisturbed, kill_folder, stage):
    root = kill_folder / f"both-{stage}"
    up_to(undisturbed, stage, root)
    outcomes = kill_runner.run_together(root, None, None)
    assert [outcome.code for outcome in outcomes] == [0, 0], "".join(outcome.output for outcome in outcomes)
    assert payloads(root) == undisturbed.payloads and damages(root) == []
    published = [
        w.path for o in outcomes for w in o.writes if w.event == "os.rename" and w.path.split("/")[0] in STAGES
    ]
    assert len(published) == len(set(published)), "everything was built once, by one of the two"
    assert wait_until_gone(set.union(*(outcome.processes for outcome in outcomes)), 20) == set()
