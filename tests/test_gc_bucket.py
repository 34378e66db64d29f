"""Cleaning up a store in a bucket that two machines share: each sees what the other is at."""

import threading

from data.housekeeping.claims import collection
from data.housekeeping.usage import Usage, runs_in_progress
from tests.test_bucket_store import machine  # noqa: F401 - a fixture
from tests.test_gc import chain, collect, ended_run, keys, publish


def test_what_another_machine_uses_stays_and_what_is_being_removed_is_waited_for(machine):  # noqa: F811
    one, two = machine("one"), machine("two")
    kept, gone = chain(one, 1), chain(one, 2, "unlisted")
    ended_run(one, kept)
    for number in range(2):
        ended_run(one, [publish(one, "plan", number, name="unlisted")], "unlisted")
    used = Usage(two)
    used.use("other", "raw", [gone[0].key])
    assert len(runs_in_progress(one)) == 1
    collect(one)
    assert keys(two) >= {ref.key for ref in kept} | {gone[0].key}
    assert not keys(two) & {ref.key for ref in gone[1:]}
    used.end("other", "failed", False)
    assert runs_in_progress(one) == []
    with collection(one) as claim:
        claim.take([gone[0].key])
        again = Usage(two)
        thread = threading.Thread(target=again.use, args=("third", "raw", [gone[0].key]))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "it takes what is about to go"
    thread.join(5)
    assert not thread.is_alive()
    again.end("third", "done", False)
