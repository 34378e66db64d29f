"""The reddit source on hand-made dumps and on the samples: what is read, and what each second run changes."""

import bz2
import gzip
import html
import json
import lzma
import os
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data.ledger import assign
from data.sources import ranges
from data.sources.base import SourceError
from data.sources.dumps.posts import unescaped
from data.sources.pack import ChangedSinceLookError
from data.sources.reddit import RedditConfig, item_name
from tests.reddit_dumps import comment, dump, lines, reddit_runs, submission
from tests.source_runs import texts

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "reddit"
with_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="the sample data are not here")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "a key for the tests")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dumps").mkdir()
    return tmp_path / "dumps"


def plain_posts(name):
    """The posts of a sample, by an independent reader; every line that can be parsed."""
    data = (SHARED / name).read_bytes()
    if name.endswith(".zst"):
        data = zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(data).read()
    posts = []
    for line in data.decode().split("\n"):
        try:
            posts.append(json.loads(line))
        except ValueError:
            continue
    return posts


def plain_reason(post):
    """Why a post of the samples is dropped, worked out in another way than ours."""
    text = post["body"] if "body" in post else post["selftext"]
    if text in ("[deleted]", "[removed]"):
        return text.strip("[]")
    if "body" in post and text == "":
        return "empty"
    return "AutoModerator" if post["author"] == "AutoModerator" else None


@with_samples
def test_the_samples_give_what_a_plain_reader_finds(tmp_path):
    comments, old = plain_posts("RC_2023-01.zst"), plain_posts("RC_2015-01.zst")
    submissions, few = plain_posts("RS_2023-01.zst"), plain_posts("RC_sample.ndjson")
    assert [len(each) for each in (comments, old, submissions, few)] == [3000, 500, 800, 20]
    runs = reddit_runs(tmp_path, path=str(SHARED), **{"as": "posts"})
    documents = runs.run()
    assert runs.why == {
        ("blank", "RC_2023-01.zst"): "1 line (201) without text",
        ("broken", "RC_2023-01.zst"): "1 line (101) cut or damaged",
        ("repeated", "2023-01"): "1 post appearing more than once: t1_idiytj7",
    }
    expected, reasons = {}, Counter()
    for item, posts in (("2015-01", old), ("2023-01", comments + submissions), ("sample", few)):
        for post in {("body" in post, post["id"]): post for post in posts}.values():
            reason = plain_reason(post)
            if reason:
                reasons[reason] += 1
            elif "body" in post:
                expected[f"{item}/t1_{post['id']}"] = html.unescape(post["body"])
            else:
                expected[f"{item}/t3_{post['id']}"] = html.unescape(f"{post['title']}\n\n{post['selftext']}")
    said = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    assert runs.notes == [f"{len(expected):,} posts used and {reasons.total():,} dropped: {said}"]
    assert documents.keys() == expected.keys()
    for native_id, text in expected.items():
        found = documents[native_id].text
        assert found == text.strip("\n").rstrip() or "u/" in text
        assert "example_user_" not in found
    assert documents["2015-01/t1_idiytj9"].created == "2015-01-01T00:00:05+00:00", "a time that is a string"


@with_samples
def test_threads_of_the_samples_hold_every_post_once(tmp_path):
    posts = reddit_runs(tmp_path, path=str(SHARED), **{"as": "posts"})
    threads = reddit_runs(tmp_path, path=str(SHARED), maximum_depth=1000)
    single, joined = posts.run(), threads.run()
    assert sum(one.meta["comments"] for one in joined.values()) == sum("/t1_" in native_id for native_id in single)
    kept = {
        f"{item}/{post['link_id']}"
        for item, name in (("2023-01", "RC_2023-01.zst"), ("2015-01", "RC_2015-01.zst"))
        for post in plain_posts(name)
        if not plain_reason(post)
    }
    kept |= {f"2023-01/t3_{post['id']}" for post in plain_posts("RS_2023-01.zst") if not plain_reason(post)}
    assert {name for name in joined if not name.startswith("sample/")} == kept
    assert str(threads.changes) == "3 new, 0 unchanged"
    assert texts(threads.run()) == texts(joined)
    assert str(threads.changes) == "nothing new, 3 unchanged"


def test_a_thread_is_put_together(folder, tmp_path):
    (folder / "RS_2024-01.zst").write_bytes(dump(submission(selftext="What &amp;lt; do you,\n\nu/Bob, think?")))
    (folder / "RC_2024-01.zst").write_bytes(
        dump(
            comment("c3", "Third &gt; second.", created_utc=1_700_000_300, author="ann"),
            comment("c2", "A reply.", parent="t1_c1", created_utc=1_700_000_200, author="Cid"),
            comment("c4", "[deleted]", parent="t1_c2", created_utc=1_700_000_400, author="[deleted]"),
            comment("c5", "    code()", parent="t1_c4", created_utc="1700000500", author="ann"),
            comment("c1", "First.", created_utc=1_700_000_100),
        )
    )
    runs = reddit_runs(tmp_path)
    ((native_id, one),) = runs.run().items()
    ann, bob, cid = one.authors
    assert native_id == "2024-01/t3_s1"
    assert one.text.split("\n\n") == [
        "A title",
        f"{ann}: What &lt; do you,",
        f"u/{bob}, think?",
        f"{bob}: First.",
        f"{cid} (to {bob}): A reply.",
        f"{ann} (to {cid}):\n    code()",
        f"{ann}: Third > second.",
    ]
    assert (one.created, one.url) == ("2023-11-14T22:13:20+00:00", "https://www.reddit.com/comments/s1")
    assert one.meta == {"subreddit": "Example", "comments": 4, "score": 10, "look": 1}
    assert runs.notes == ["5 posts used and 1 dropped: 1 deleted"]


def test_comments_without_their_submission_are_used(folder, tmp_path):
    (folder / "RC_2024-02.zst").write_bytes(dump(comment("c1", "Alone."), comment("c2", "Too.", parent="t1_gone")))
    runs = reddit_runs(tmp_path)
    (one,) = runs.run().values()
    assert [said.partition(": ")[2] for said in one.text.split("\n\n")] == ["Alone.", "Too."]
    assert "1 thread of comments only" in runs.notes[0]


def test_answers_in_a_circle_and_too_deep(folder, tmp_path):
    chain = [comment(f"d{n}", f"Depth {n}.", parent=f"t1_d{n - 1}" if n > 1 else "t3_s1") for n in range(1, 6)]
    circle = [
        comment("x1", "x1", parent="t1_x2"),
        comment("x2", "x2", parent="t1_x1"),
        comment("z9", "z9", parent="t1_z9"),
    ]
    (folder / "dump.jsonl").write_bytes(lines(submission(), *chain[::-1], *circle))
    runs = reddit_runs(tmp_path, maximum_depth=3)
    (one,) = runs.run().values()
    assert [said.rpartition(": ")[2] for said in one.text.split("\n\n")[2:]] == [
        *("Depth 1.", "Depth 2.", "Depth 3.", "z9", "x1", "x2")
    ]
    assert runs.notes == ["7 posts used and 2 dropped: 2 too_deep"]


def test_what_nobody_wrote_is_dropped(folder, tmp_path):
    posts = [
        comment("a", "[removed]"),
        comment("b", " \n"),
        comment("c", "Rules.", author="AutoModerator"),
        comment("d", "Beep.", author="RemindMeBot"),
        comment("e", "Hello. ^(I am a bot, and this action was performed automatically.)"),
        comment("f", None, author=None) | {"body": "[deleted]"},
        submission("g", selftext="[deleted]", author="[deleted]"),
        submission("h", title="[deleted by user]", selftext=""),
        comment("i", "Low.", score=1),
        comment("j", "No score.", score=None),
        comment("k", "Somebody gone.", author="[deleted]", link="t3_k"),
        comment("l", "A robot both bottom.", author="Talbot", link="t3_l"),
        submission("m", selftext="", url="https://example.org"),
        submission("n", score=1),
        comment("o", "Under a low one.", link="t3_n"),
    ]
    (folder / "x.ndjson").write_bytes(lines(*posts))
    runs = reddit_runs(tmp_path, minimum_score=2)
    documents = runs.run()
    assert {name: one.text.partition(": ")[2] or one.text for name, one in documents.items()} == {
        "x/t3_s1": "No score.",
        "x/t3_k": "Somebody gone.",
        "x/t3_l": "A robot both bottom.",
        "x/t3_m": "A title",
    }
    assert documents["x/t3_k"].authors == ()
    assert runs.notes[0].startswith(
        "4 posts used and 11 dropped: 1 AutoModerator, 2 bot, 3 deleted, 1 empty, 3 low_score, 1 removed"
    )


def test_only_some_subreddits(folder, tmp_path):
    posts = [comment(name, name, link=f"t3_{name}", subreddit=sub) for name, sub in (("a", "AskX"), ("b", "askx2"))]
    posts.append(comment("c", 'r/"subreddit": "AskX"', link="t3_c", subreddit="Other"))
    (folder / "a.jsonl").write_bytes(lines(*posts))
    assert reddit_runs(tmp_path, subreddits=["r/ASKX"]).run().keys() == {"a/t3_a"}
    (folder / "b.jsonl").write_bytes(lines(*posts).replace(b'": "', b'":"'))
    assert reddit_runs(tmp_path, subreddits=["AskX2", "other"]).run().keys() == {"a/t3_b", "a/t3_c", "b/t3_b", "b/t3_c"}


def test_files_that_belong_together():
    assert {
        name: item_name(name)
        for name in (
            "RC_2023-01.zst",
            "rs_2023-01.ndjson.gz",
            "deep/er/AskX_comments.zst",
            "AskX_submissions.jsonl",
            "RC_2011-02.bz2",
            "any.json",
            "RC_.zst",
            "_comments.xz",
            "a_comments_b.zst",
            "RC_x_comments.zst",
        )
    } == {
        "RC_2023-01.zst": "2023-01",
        "rs_2023-01.ndjson.gz": "2023-01",
        "deep/er/AskX_comments.zst": "deep/er/AskX",
        "AskX_submissions.jsonl": "AskX",
        "RC_2011-02.bz2": "2011-02",
        "any.json": "any",
        "RC_.zst": "RC_",
        "_comments.xz": "_comments",
        "a_comments_b.zst": "a_comments_b",
        "RC_x_comments.zst": "x",
    }


@pytest.mark.parametrize("ending", [".zst", ".ndjson", ".jsonl.gz", ".bz2", ".json.xz"])
def test_every_compression(folder, tmp_path, ending):
    pack = {".zst": zstandard.compress, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    posts = [comment(f"c{n}", f"Comment {n}.", link=f"t3_{n}") for n in range(50)]
    make = next((pack[one] for one in pack if ending.endswith(one)), bytes)
    (folder / f"x_comments{ending}").write_bytes(make(lines(*posts[:20])) + make(lines(*posts[20:])))
    found = reddit_runs(tmp_path, **{"as": "posts"}).run()
    assert sorted(one.text for one in found.values()) == sorted(post["body"] for post in posts)


def test_second_runs(folder, tmp_path):
    for month in (1, 2, 3):
        (folder / f"RC_2024-0{month}.zst").write_bytes(dump(comment(f"c{month}", f"Month {month}."), window_log=20))
    runs = reddit_runs(tmp_path)
    first = texts(runs.run())
    assert texts(runs.run()) == first
    assert str(runs.changes) == "nothing new, 3 unchanged"
    (folder / "RS_2024-02.zst").write_bytes(dump(submission(), window_log=20))
    (folder / "RC_2023-12.zst").write_bytes(dump(comment("c0", "Earlier."), window_log=20))
    (folder / "RC_2024-03.zst").unlink()
    second = texts(runs.run())
    assert (runs.changes.new, runs.changes.changed, runs.changes.deleted) == (("2023-12",), ("2024-02",), ("2024-03",))
    assert second.keys() == {"2023-12/t3_s1", "2024-01/t3_s1", "2024-02/t3_s1"}
    assert second["2024-01/t3_s1"] == first["2024-01/t3_s1"]
    assert second["2024-02/t3_s1"].endswith(first["2024-02/t3_s1"])
    assert texts(reddit_runs(tmp_path).run()) == second, "with the ledger lost the documents are the same"


def test_an_item_larger_than_a_slot_has_its_own(folder, tmp_path):
    for name, count in (("a", 1), ("b", 40), ("c", 1)):
        (folder / f"{name}.jsonl").write_bytes(lines(*(comment(f"{name}{n}") for n in range(count))))
    runs = reddit_runs(tmp_path, slot_bytes=1000)
    assert len(runs.run()) == 3
    assert len(runs.slots) == 3


def test_a_memo_saves_reading(folder, tmp_path, monkeypatch):
    (folder / "RC_2024-01.zst").write_bytes(dump(comment("c1")))
    config = RedditConfig(path="dumps")
    monkeypatch.setattr(ranges, "_SETTLED_NS", -(10**12))
    first = config.look(tmp_path)
    monkeypatch.setattr("data.sources.reddit.cut_file", None)
    assert config.look(tmp_path, json.loads(json.dumps(first.memo))) == first


def test_a_file_that_changes_or_goes_is_named(folder, tmp_path):
    (folder / "RC_2024-01.zst").write_bytes(dump(comment("c1")))
    (folder / "RS_2024-01.zst").write_bytes(dump(submission()))
    config = RedditConfig(path="dumps")
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    first, again = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    again.mkdir()
    config.fetch(slots[0].items, tmp_path, first, first)
    (folder / "RS_2024-01.zst").write_bytes(dump(submission(title="Another")))
    with pytest.raises(ChangedSinceLookError, match=r"RS_2024-01\.zst changed while .* Run again"):
        config.fetch(slots[0].items, tmp_path, again, again)
    (folder / "RC_2024-01.zst").unlink()
    with pytest.raises(SourceError, match=r"RC_2024-01\.zst cannot be read any more .*mirror"):
        config.fetch(slots[0].items, tmp_path, again, again)
    config.fetch(slots[0].items, tmp_path, again, again, earlier=[first])
    assert (again / "content.bin").read_bytes() == (first / "content.bin").read_bytes()


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda folder: folder.rmdir(), "dumps (path: 'dumps') does not exist"),
        (lambda folder: None, "holds no dump that can be read (it is empty)"),
        (lambda folder: (folder / "a.txt").write_text("x"), ".txt (1)"),
    ],
)
def test_nothing_to_read_is_an_error_with_the_path(folder, tmp_path, prepare, said):
    prepare(folder)
    with pytest.raises(SourceError) as caught:
        RedditConfig(path="dumps").look(tmp_path)
    assert said in str(caught.value)


def test_identity(monkeypatch):
    one = RedditConfig(path="a", subreddits=["AskX", "r/other"])
    assert one.reading_identity() == RedditConfig(path="b", subreddits=["OTHER", "askx"]).reading_identity()
    assert one.reading_identity() != RedditConfig(path="a").reading_identity()
    assert RedditConfig(path="a", **{"as": "posts"}).documents == "posts"
    monkeypatch.delenv("TEXTMILL_PSEUDONYM_KEY")
    with pytest.raises(SourceError, match="TEXTMILL_PSEUDONYM_KEY"):
        one.look(Path("/"))


@pytest.mark.parametrize(
    "wrong", [{"path": ""}, {"as": "trees"}, {"subreddits": ["a b"]}, {"maximum_depth": 0}, {"misspelt": 1}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        RedditConfig(**{"path": "dumps", **wrong})


def test_paths_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    for path in ("~nobody-of-this-name/x", "circle", "x" * 300):
        with pytest.raises(SourceError, match=r"nobody|circle|xxx"):
            RedditConfig(path=path).look(tmp_path)


def test_a_dump_that_cannot_be_opened_is_named(folder, tmp_path, monkeypatch):
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_bytes(lines(comment("c1")))
    open_file = open

    def fail(path, *more):
        if os.fsencode(path).endswith(b"b.jsonl"):
            raise OSError(5, "Input/output error", path)
        return open_file(path, *more)

    monkeypatch.setattr("builtins.open", fail)
    look = RedditConfig(path="dumps").look(tmp_path)
    assert [item.native_id for item in look.items] == ["a"]
    assert [str(problem) for problem in look.problems] == ["b.jsonl: unreadable: Input/output error"]


@given(st.lists(st.sampled_from(["&gt;", "&lt;", "&amp;", "&", "gt;", "amp;", "&#39;", "&quot;", "&gt", "a", " "])))
def test_escapes_are_undone_once_as_the_library_does(parts):
    assert unescaped("".join(parts)) == html.unescape("".join(parts))
