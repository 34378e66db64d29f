"""Dumps that are damaged, cut, huge or hostile, and threads that do not fit into memory."""

import gzip
import json
import random
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import decompression
from data.sources.base import SourceError
from data.sources.chats.pseudonyms import NumberedNames
from data.sources.dumps import grouping
from data.sources.dumps import lines as reddit_lines
from data.sources.dumps import threads as reddit_threads
from data.sources.dumps.grouping import grouped
from data.sources.dumps.posts import Post
from data.sources.dumps.threads import ordered, thread_texts
from tests.reddit_dumps import comment, dump, lines, reddit_runs, submission
from tests.source_runs import texts

POSTS = [submission(f"s{n}", title=f"Title {n}") for n in range(20)] + [
    comment(f"c{n}", f"Comment {n}.", link=f"t3_s{n % 25}", parent=f"t1_c{n - 25}" if n > 50 else f"t3_s{n % 25}")
    for n in range(200)
]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "a key for the tests")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dumps").mkdir()
    return tmp_path / "dumps"


def test_broken_blank_and_foreign_lines_are_named(folder, tmp_path):
    data = lines(comment("c1")) + b'\n{"id": "c2", "body": "cut\n \t\r\n[1]\n{}\n{"id": "x"}\n' + lines(comment("c3"))
    data += lines(comment("c 4")) + b'{"id":"c5","body":"no link"}\n' + b'{"id":"c6","body":"half \\ud83d",'
    data += b'"link_id":"t3_s1"}\r\n' + b"\0\0\n" + b"[" * 100_000 + b"\n" + b'{"id":"c7","title":"last"}'
    (folder / "a.jsonl").write_bytes(data)
    runs = reddit_runs(tmp_path, **{"as": "posts"})
    assert runs.run().keys() == {"a/t1_c1", "a/t1_c3", "a/t1_c6", "a/t3_c7"}
    assert texts(runs.run())["a/t1_c6"] == "half ?"
    assert runs.why == {
        ("blank", "a.jsonl"): "3 lines (2, 4, 12) without text",
        ("broken", "a.jsonl"): "4 lines (3, 5, 6, 13) cut or damaged",
        ("foreign", "a.jsonl"): "2 lines (7, 10) neither comment nor submission",
    }
    assert "1 without_id" in runs.notes[0]


def test_a_line_without_end_is_given_up(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reddit_lines, "LINE_BYTES", 3_000_000)
    long = comment("c2", "x" * 5_000_000)
    (folder / "a.jsonl").write_bytes(lines(comment("c1"), long, comment("c3")))
    runs = reddit_runs(tmp_path, **{"as": "posts"})
    assert runs.run().keys() == {"a/t1_c1", "a/t1_c3"}
    assert runs.why == {("broken", "a.jsonl"): "1 line (2) cut or damaged"}


@pytest.mark.parametrize("ending", [".zst", ".gz"])
def test_a_file_cut_anywhere_gives_what_comes_before(folder, tmp_path, ending):
    whole = dump(*POSTS, window_log=20) if ending == ".zst" else gzip.compress(lines(*POSTS))
    (folder / "RS_2024-01.jsonl").write_bytes(lines(submission("last")))
    counts = []
    for end in [0, 1, 10, *range(100, len(whole), len(whole) // 5)]:
        (folder / f"RC_2024-01{ending}").write_bytes(whole[:end])
        runs = reddit_runs(tmp_path, **{"as": "posts"})
        documents = runs.run()
        assert "2024-01/t3_last" in documents, "the other file of the item is read all the same"
        assert ("cut", f"RC_2024-01{ending}") in runs.why
        counts.append(len(documents))
    assert counts == sorted(counts)


def test_a_damaged_file_is_named(folder, tmp_path):
    whole = bytearray(dump(*POSTS, window_log=20))
    whole[len(whole) // 2 :] = bytes(len(whole) - len(whole) // 2)
    (folder / "RC_2024-01.zst").write_bytes(whole)
    (folder / "RC_2024-02.zst").write_bytes(b"no zstandard at all")
    runs = reddit_runs(tmp_path, **{"as": "posts"})
    runs.run()
    assert {where for what, where in runs.why if what in ("damaged", "cut")} == {
        "RC_2024-01.zst",
        "RC_2024-02.zst",
    }


def test_a_bomb_stops(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(decompression, "BOMB_BYTES", 10_000_000)
    data = lines(comment("c1")) + b" " * 200_000_000
    (folder / "RC_2024-01.zst").write_bytes(zstandard.compress(data))
    runs = reddit_runs(tmp_path, **{"as": "posts"})
    runs.run()
    (why,) = [why for (what, _), why in runs.why.items() if what == "decompression_bomb"]
    assert "10000000 bytes or 200 times are allowed" in why


def by_thread(posts):
    found = {}
    for post in posts:
        found.setdefault(post.link, []).append(post)
    return found


def made(count, threads, seed=0):
    rng = random.Random(seed)
    return [
        Post(f"s{rng.randrange(threads)}", f"c{n}", "", False, "ann", "Example", n, 1, "text " * rng.randrange(20), "")
        for n in range(count)
    ]


def batches(posts):
    return [posts[start : start + 7] for start in range(0, len(posts), 7)]


@pytest.mark.parametrize("part", [500, 10_000_000])
@pytest.mark.parametrize("limit", [3_000, 30_000, 10_000_000])
def test_threads_are_brought_together_in_bounded_memory(monkeypatch, limit, part):
    monkeypatch.setattr(grouping, "HELD_BYTES", limit)
    monkeypatch.setattr(grouping, "PART_BYTES", part)
    posts = made(1500, 200)
    groups = list(grouped(batches(posts)))
    assert {group[0].link: group for group in groups} == by_thread(posts)
    assert len(groups) == len(by_thread(posts))
    assert [group[0].id for group in grouped(batches(posts))] == [group[0].id for group in groups]
    assert sum(map(len, grouped(batches(posts), by_thread=False))) == 1500


def test_a_single_thread_larger_than_memory_allows_comes_whole(monkeypatch):
    monkeypatch.setattr(grouping, "HELD_BYTES", 10_000)
    monkeypatch.setattr(grouping, "PART_BYTES", 10_000)
    posts = made(500, 1)
    assert list(grouped(batches(posts))) == [posts]


def test_no_room_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(grouping, "HELD_BYTES", 1000)

    @contextmanager
    def full_disk(prefix):
        for number in range(64):
            (tmp_path / str(number)).symlink_to("/dev/full")
        yield str(tmp_path)

    monkeypatch.setattr(grouping.tempfile, "TemporaryDirectory", full_disk)
    with pytest.raises(SourceError, match=r"No space left on device.*TMPDIR"):
        list(grouped(batches(made(100, 5))))


def test_reading_in_files_changes_no_document(folder, tmp_path, monkeypatch):
    (folder / "RC_2024-01.zst").write_bytes(dump(*POSTS[20:], POSTS[20], window_log=20))
    (folder / "RS_2024-01.zst").write_bytes(dump(*POSTS[:20], window_log=20))
    runs = {limit: reddit_runs(tmp_path) for limit in (10**9, 2_000)}
    found = {}
    for limit, run in runs.items():
        monkeypatch.setattr(grouping, "HELD_BYTES", limit)
        found[limit] = texts(run.run())
    assert list(found[10**9].items()) == list(found[2_000].items()), "nor their order"
    assert len(found[2_000]) == 25
    assert all(run.why[("repeated", "2024-01")].endswith("t1_c0") for run in runs.values())


def test_a_score_that_no_number_holds_is_unknown(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(grouping, "HELD_BYTES", 10)
    (folder / "a.jsonl").write_bytes(lines(submission(score=10**30), comment("c1"), comment("c2", score=-(10**19))))
    (found,) = reddit_runs(tmp_path).run().values()
    assert found.meta["score"] is None and found.meta["comments"] == 2


def test_however_many_repeats_a_few_are_named(folder, tmp_path):
    posts = [comment(f"c{n}") for n in range(1500)]
    (folder / "a.jsonl").write_bytes(lines(*posts[::-1], *posts))
    runs = reddit_runs(tmp_path)
    runs.run()
    said = "1,500 posts appearing more than once: t1_c0, t1_c1, t1_c10, t1_c100, t1_c1000..."
    assert runs.why == {("repeated", "a"): said}


def test_a_long_thread_comes_in_parts(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reddit_threads, "DOCUMENT_CHARACTERS", 1000)
    (folder / "a.jsonl").write_bytes(lines(submission(), *(comment(f"c{n}", f"Number {n}. " * 5) for n in range(100))))
    found = reddit_runs(tmp_path).run()
    assert [*found][:3] == ["a/t3_s1", "a/t3_s1~2", "a/t3_s1~3"]
    assert all(len(one.text) <= 1000 for one in found.values())
    assert sum(one.text.count("Number 7. ") for one in found.values()) == 4


TREES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.booleans()), min_size=1, max_size=12)


@given(TREES, st.integers(1, 5))
def test_every_comment_of_any_tree_is_used_or_counted(tree, depth):
    posts = [
        Post("s", str(n), str(parent), False, "ann", "X", created, 1, "" if gone else f"text {n}", "deleted" * gone)
        for n, (parent, created, gone) in enumerate(tree)
    ]
    dropped = Counter()
    told = ordered(posts, depth, dropped)
    alive = [post for post in posts if not post.dropped]
    assert len(told) + dropped["too_deep"] == len(alive)
    assert len({post.id for post, _ in told}) == len(told)
    place = {post.id: number for number, (post, _) in enumerate(told)}
    for number, (_, parent) in enumerate(told):
        assert parent is None or place[parent.id] < number, "an answer comes after what it answers"
    whole = "\n\n".join(thread_texts(None, told, {"ann": "Ann"}, NumberedNames()))
    assert all(post.text in whole for post, _ in told)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["id", "author", "body", "title", "selftext", "subreddit", "link_id", "parent_id", "created_utc", "score"]
LINES = st.one_of(
    st.binary(max_size=20),
    st.builds(
        lambda base, more: json.dumps(base | more).encode(),
        st.sampled_from([comment("c1"), submission(), {}]),
        st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    ),
)


@settings(max_examples=60, deadline=None)
@given(
    made=st.lists(LINES, max_size=8),
    ending=st.sampled_from([".jsonl", ".zst"]),
    cut=st.integers(0, 30),
    wanted=st.sampled_from([(), ("example",)]),
    form=st.sampled_from(["threads", "posts"]),
)
def test_no_content_raises_anything_but_named_errors(made, ending, cut, wanted, form):
    data = b"\n".join(made)
    data = zstandard.compress(data) if ending == ".zst" else data
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTMILL_PSEUDONYM_KEY", "a key for the tests")
        (Path(name) / "dumps").mkdir()
        (Path(name) / "dumps" / f"a{ending}").write_bytes(data[: max(0, len(data) - cut)])
        documents = reddit_runs(Path(name), subreddits=wanted, **{"as": form}).run()
    assert all(one.text.strip() for one in documents.values())
    json.dumps([one.meta for one in documents.values()], allow_nan=False)
