"""Forgetting people in chats: raw slots lose their messages, and everything else is read as before."""

import bz2
import gzip
import json
import lzma
import random
import re
import shutil
from pathlib import Path

import pytest
import zstandard

from data.forgetting import chats
from data.forgetting.holdings import Holdings
from data.forgetting.sifting import search_slot, sift
from data.forgetting.tombstones import Sieve, author_hash
from data.sources.base import Problem, RawDocument
from data.sources.chats.pseudonyms import KeyedNames
from data.sources.discord import DiscordConfig
from data.sources.dumps.lines import Wrong, whole_lines
from data.sources.pack import PackReader, read_items
from data.sources.reddit import RedditConfig
from tests.discord_exports import chat, discord_runs, export, message
from tests.discord_toys import GENERAL, at, config, fast_clock, serve
from tests.reddit_dumps import comment, lines, reddit_runs, submission
from tests.remote_runs import Runs
from tests.source_runs import texts
from tests.stand_in_discord import message as api_message
from tests.test_forget import Mill, dying

KEY = "TEXTMILL_PSEUDONYM_KEY"
SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv(KEY, "a secret of the tests, long enough")


def sifted(runs, folder, documents=(), authors=(), source=None):
    """The slots of runs, written again into `folder`; returns (items changed, items left)."""
    source = source or runs.config
    names = source.names("reddit" if source.kind == "reddit" else "discord")
    spelt = {name for author in authors for name in (author, names.name(author))}
    sieve = Sieve(frozenset(documents), frozenset(map(author_hash, spelt)))
    done, left = [], []
    for number, (items, raw) in list(runs.slots.items()):
        out = folder / str(number)
        out.mkdir(parents=True)
        found = sift(source.kind, raw, out, sieve, [source.reading_identity()])
        runs.slots[number] = (items, out)
        done += found.done
        left += found.left
    return done, left


def plain(runs):
    """All bytes of the slots, decompressed."""
    return b"".join(plain_slot(out) for _, out in runs.slots.values())


def plain_slot(out):
    found = (out / "items.jsonl").read_bytes()
    with PackReader(out) as reader:
        for item in read_items(out):
            data, at = b"".join(reader.chunks(item)), 0
            for name, size, _ in item.meta.get("files", [["", item.size, ""]]):
                found += opened(name, data[at : at + size])
                at += size
            assert at == item.size
    return found


def opened(name, data):
    if name.endswith(".zst"):
        return zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(data, read_across_frames=True).read()
    ways = {"gz": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}
    return ways.get(name.rpartition(".")[2], bytes)(data)


def said(found):
    """Everything that was read, but for the place in the slot."""
    return [one if isinstance(one, Problem) else (one.native_id, one.text, *one.authors, one.url, one.created,
            str(one.meta)) for one in found]  # fmt: skip


def of(found, name):
    return {one.native_id for one in found if isinstance(one, RawDocument) and name in one.authors}


# ------------------------------------------------------------------------------------------------ exports of Discord


def exported(path, messages, **settings):
    (path / "exports").mkdir(parents=True)
    (path / "exports" / "a.json").write_bytes(export(messages))
    runs = discord_runs(path, **settings)
    runs.run()
    return runs


def talk():
    """Conversations of others around one of somebody with the id 77, quoted and mentioned by others later."""
    secret = message("2024-01-10T12:00", "Zyxwords of mine.", "77")
    return [
        message("2024-01-10T10:00", "Good morning.", "1"),
        message("2024-01-10T10:01", "Hello <@77>.", "2"),
        secret,
        message("2024-01-10T12:01", "Zyxanswer to that.", "2"),
        message("2024-01-10T15:00", "I still wonder.", "1", type="Reply", reference={"messageId": secret["id"]}),
        message("2024-02-10T15:00", "February.", "2"),
        message("2024-02-10T19:00", "Zyxlater.", "77"),
        message("2024-02-10T22:00", "The end.", "2"),
    ]


def test_an_author_of_exports_goes_from_raw_with_the_conversations(tmp_path):
    runs = exported(tmp_path, talk())
    before, name = runs.read(), runs.config.names("discord").name("77")
    gone = of(before, name)
    assert len(gone) == 2 and b"Zyx" in plain(runs) and b'"77"' in plain(runs)
    done, left = sifted(runs, tmp_path / "new", authors=["77"])
    assert (len(done), left) == (2, [])
    assert b"Zyx" not in plain(runs) and b'"77"' not in plain(runs)
    assert not any(one["id"].encode() in plain(runs) for one in talk() if one["content"].startswith("Zyx"))
    after = runs.read()
    expected = [one for one in before if one.native_id not in gone]
    quoting = next(one for one in expected if "wonder" in one.text)
    assert quoting.text.startswith(f"> {name}: Zyxwords of mine.\n")
    assert texts(after) == texts(expected) | {quoting.native_id: quoting.text.partition("\n")[2]}
    assert [one.native_id for one in after] == [one.native_id for one in expected]
    content = [(out / "content.bin").read_bytes() for _, out in runs.slots.values()]
    assert sifted(runs, tmp_path / "again", authors=["77"]) == ([], [])
    assert [(out / "content.bin").read_bytes() for _, out in runs.slots.values()] == content


def test_what_was_cut_for_its_length_stays_cut(tmp_path):
    """The conversation in the middle goes; what comes before and after would else be one."""
    sizes = [300, 300, 800] * 4
    messages = [message(f"2024-01-10T10:{n:02d}", f"Part {n} " + "x" * size, "1") for n, size in enumerate(sizes)]
    runs = exported(tmp_path, messages, maximum_characters=1000)
    before = runs.read()
    assert [one.meta["messages"] for one in before] == [2, 1] * 4, "two short ones, or a long one"
    done, left = sifted(runs, tmp_path / "new", documents=[before[n].native_id for n in (1, 5)])
    assert len(done) == 1 and not left
    assert said(runs.read()) == said([one for n, one in enumerate(before) if n not in (1, 5)])


def test_messages_that_another_way_of_reading_needs_stay(tmp_path):
    """Of one document in two pieces, the rest would come back under the second one's name."""
    messages = [*chat("2024-01-10T10:00", 3), *chat("2024-01-10T13:00", 30, minutes=7)]
    runs = exported(tmp_path, messages)
    short = DiscordConfig(path="exports", maximum_characters=1000)
    first, whole = runs.read()
    pieces = runs.read(short)
    assert len(pieces) > 2 and pieces[0].text == first.text
    (_, raw), out = runs.slots[0], tmp_path / "new"
    out.mkdir()
    item, identities = "800000000000000002/2024-01", [runs.config.reading_identity(), short.reading_identity()]
    found = sift("discord", raw, out, Sieve(frozenset([whole.native_id])), identities)
    assert (found.done, found.left) == ((), (item,))
    for name in ("content.bin", "items.jsonl"):
        assert (out / name).read_bytes() == (raw / name).read_bytes()
    found = sift("discord", raw, out, Sieve(frozenset([first.native_id])), identities)
    assert (found.done, found.left) == ((item,), ())
    assert said(short.read(out)) == said(pieces[1:]) and said(runs.config.read(out)) == said([whole])


def test_a_fetch_takes_what_was_sifted_from_the_slot_before(tmp_path):
    runs = exported(tmp_path, talk())
    sifted(runs, tmp_path / "new", authors=["77"])
    runs.fetch()  # the export lies there as it was, but its month is at hand
    assert b"Zyx" not in plain(runs)


def test_the_shared_export_loses_one_person(tmp_path):
    if not (SHARED / "discord").is_dir():
        pytest.skip("no shared export of Discord here")
    shutil.copytree(SHARED / "discord", tmp_path / "exports")
    for name in ("rest_messages.json", "rest_rate_limits.json"):
        (tmp_path / "exports" / name).unlink()
    runs = discord_runs(tmp_path)
    runs.run()
    before = runs.read()
    (file,) = (tmp_path / "exports").glob("*.json")
    people = {one["author"]["id"]: one for one in json.loads(file.read_text())["messages"]}
    names = runs.config.names("discord")
    author = max(people, key=lambda one: len(before) * (len(of(before, names.name(one))) < len(before) / 2)
                 + len(of(before, names.name(one))))  # fmt: skip
    gone = of(before, names.name(author))
    assert gone and len(gone) < len(before)
    said_by = [(one["author"]["id"], one["content"]) for one in json.loads(file.read_text())["messages"]]
    others = "\n".join(text for who, text in said_by if who != author)
    own = {text for who, text in said_by if who == author and len(text) > 30 and text not in others}
    done, left = sifted(runs, tmp_path / "new", authors=[author])
    assert done and not left
    assert f'"{author}"'.encode() not in plain(runs)
    assert own and not any(json.dumps(text, ensure_ascii=False)[1:-1].encode() in plain(runs) for text in own)
    after = {one.native_id: one for one in runs.read()}
    assert list(after) == [one.native_id for one in before if one.native_id not in gone]
    for one in before:
        if one.native_id in after:
            now = after[one.native_id]
            assert now.meta == one.meta and now.authors == one.authors
            left_out = set(one.text.split("\n")) - set(now.text.split("\n"))
            assert all(line.startswith("> ") for line in left_out)


# --------------------------------------------------------------------------------------------------- Discord's API


def test_a_channel_of_the_api_loses_a_person_wherever_discord_names_them(tmp_path, monkeypatch):
    me = "300000000000000077"
    own = api_message(at(2024, 1, 10), "Zyxwords of mine.", me)
    picture = api_message(at(2024, 1, 20), "", me, attachments=[{"id": "5", "filename": "Zyxpicture.png"}])
    answer = api_message(at(2024, 1, 11), "An answer.", type=19, message_reference={"message_id": own["id"]},
                         referenced_message=own, mentions=[own["author"]])  # fmt: skip
    other = api_message(at(2024, 1, 12), "Hello both.", mentions=[own["author"], {"id": "3", "username": "c"}])
    alone = api_message(at(2024, 1, 13), "Nothing of it.")
    with serve(monkeypatch, fast_clock(monkeypatch), {GENERAL: [own, answer, other, alone, picture]}):
        monkeypatch.setenv(KEY, "a secret of the tests, long enough")
        runs = Runs(tmp_path, config())
        runs.run()
        before = runs.read()
        assert sifted(runs, tmp_path / "new", authors=[me], source=config()) == ([f"{GENERAL}/2024-01"], [])
        data = plain(runs)
        assert own["id"].encode() not in data and b'"5"' not in data
        assert b"Zyx" not in data and f'"{me}"'.encode() not in data and f"name of {me}".encode() not in data
        assert json.dumps(alone, separators=(",", ":")).encode() in data, "other lines stay byte by byte"
        now = runs.read()
        assert [one.native_id for one in now] == [one.native_id for one in before[1:]]
        assert "Zyxwords" in before[1].text and now[0].text == before[1].text.partition("\n")[2]
        assert said(now[1:]) == said(before[2:])


# ------------------------------------------------------------------------------------------------------ Reddit dumps


def posts():
    return [
        submission("s1", title="Zyxtitle", selftext="Zyxself", author="Wilhelmina"),
        comment("c1", "Zyxreply in that thread", author="bob", link_author="Wilhelmina"),
        submission("s2", title="Second", selftext="of Bob", author="bob"),
        comment("c2", "Zyxlow", parent="t3_s2", link="t3_s2", author="wilhelmina", score=-9),
        comment("c3", "below it", parent="t1_c2", link="t3_s2", author="cid", created_utc=1_700_000_200),
        comment("c4", "at the side", parent="t3_s2", link="t3_s2", author="dan", created_utc=1_700_000_150),
        submission("s3", title="Zyxbad", selftext="Zyxbad", author="Wilhelmina", score=-9),
        comment("c5", "of a thread left out", parent="t3_s3", link="t3_s3", author="cid"),
        submission("s4", title="Fourth", crosspost_parent_list=[{"author": "Wilhelmina", "title": "Zyxpassed on"}]),
    ]


def packed(name, data):
    ways = {"zst": lambda: dump_bytes(data), "gz": lambda: gzip.compress(data), "bz2": lambda: bz2.compress(data),
            "xz": lambda: lzma.compress(data)}  # fmt: skip
    return ways.get(name.rpartition(".")[2], lambda: data)()


def dump_bytes(data):
    return zstandard.ZstdCompressor(level=3).compress(data)


def dumped(path, name="RC_2023-01.zst", data=None, **settings):
    (path / "dumps").mkdir(parents=True)
    (path / "dumps" / name).write_bytes(packed(name, lines(*posts()) if data is None else data))
    runs = reddit_runs(path, **settings)
    runs.run()
    return runs


@pytest.mark.parametrize("ending", ["zst", "gz", "bz2", "xz", "ndjson"])
def test_an_author_of_a_dump_goes_with_the_threads(tmp_path, ending):
    """A comment that was not shown keeps the place of those below it; a thread that was left out stays out."""
    damaged = b'{"author": "wilhelmina", "body": "Zyxcut\n\n{"author": "eve", "body": "cut\n{"id": "x"}\n'
    runs = dumped(tmp_path, f"RC_2023-01.{ending}", lines(*posts()) + damaged, minimum_score=0)
    before = runs.read()
    name = runs.config.names("reddit").name("wilhelmina")
    gone = of(before, name)
    assert gone == {"2023-01/t3_s1"}
    done, left = sifted(runs, tmp_path / "new", authors=["wilhelmina"])
    assert (done, left) == (["2023-01"], [])
    assert b"Zyx" not in plain(runs) and b"wilhelmina" not in plain(runs).lower() and b'"eve"' in plain(runs)
    after = runs.read()
    assert sorted(map(repr, said(after))) == sorted(
        map(repr, said([one for one in before if isinstance(one, Problem) or one.native_id not in gone]))
    )
    assert len([one for one in after if isinstance(one, Problem)]) == 3, "blank, broken, foreign as before"
    assert sifted(runs, tmp_path / "again", authors=["wilhelmina"]) == ([], [])


def test_posts_go_one_by_one_where_each_is_a_document(tmp_path):
    runs = dumped(tmp_path, documents="posts")
    before = runs.read()
    done, left = sifted(runs, tmp_path / "new", documents=["2023-01/t1_c3"], authors=["wilhelmina"])
    assert (done, left) == (["2023-01"], [])
    data = plain(runs)
    assert b"below it" not in data and b"wilhelmina" not in data.lower() and b"Zyxpassed" not in data
    gone = of(before, runs.config.names("reddit").name("wilhelmina")) | {"2023-01/t1_c3"}
    assert texts(runs.read()) == {name: text for name, text in texts(before).items() if name not in gone}
    assert b"Zyxreply" in data, "what others wrote below it is theirs"


ESCAPED = [
    (comment("c9", "Zyxown", author="Wilhelmina"), b'"author"', rb'"\u0061uthor"'),
    (comment("c9", "of Cid", author="cid", link_author="Wilhelmina"), b'"link_author"', rb'"link\u005f\u0061uthor"'),
    (submission("s9", crosspost_parent_list=[{"author": "Wilhelmina"}]), b'crosspost_', rb'crosspost\u005f'),
    (submission("s9", crosspost_parent_list=[{"author": "Wilhelmina"}]), b'"author"', rb'"auth\u006Fr"'),
]  # fmt: skip


@pytest.mark.parametrize(("post", "key", "spelt"), ESCAPED)
@pytest.mark.parametrize("end", [b"\n", b"broken\n"])
def test_whoever_is_named_by_a_key_spelt_in_another_way_goes_too(tmp_path, post, key, spelt, end):
    line = lines(post).replace(key, spelt).replace(b"\n", end)
    runs = dumped(tmp_path, data=lines(comment("c1", "of Ann", "t3_s5", "t3_s5", "ann")) + line)
    before = runs.read()
    gone = of(before, runs.config.names("reddit").name("wilhelmina"))
    assert sifted(runs, tmp_path / "new", authors=["wilhelmina"]) == (["2023-01"], [])
    assert b"wilhelmina" not in plain(runs).lower() and b"Zyx" not in plain(runs) and b"of Ann" in plain(runs)
    assert sorted(map(repr, said(runs.read()))) == sorted(
        map(repr, said([one for one in before if isinstance(one, Problem) or one.native_id not in gone]))
    )


def test_what_planning_saw_gives_what_a_search_gives(tmp_path):
    """In one way posts are documents of their own; a thread of the other one keeps its id when it loses the author."""
    found = [
        submission("s1", title="Others", author="bob", subreddit="Other"),
        comment("c1", "Zyxone", "t3_s1", "t3_s1", "ann"),
        comment("c2", "Between.", "t3_s1", "t3_s1", "bob"),
    ]
    runs = dumped(tmp_path, "RC_2023-01.ndjson", lines(*found), **{"as": "posts", "subreddits": ["Example"]})
    identities = [runs.config.reading_identity(), RedditConfig(path="dumps").reading_identity()]
    hashes = {author_hash(runs.config.names("reddit").name("ann"))}
    ((_, raw),) = runs.slots.values()
    searched = search_slot("reddit", raw, hashes, identities)
    sieve, outs = Sieve(frozenset().union(*searched.items().values()), frozenset(hashes)), []
    assert searched.is_all_that_goes(sieve, identities)
    for seen in (searched, None):
        outs.append(tmp_path / f"out {len(outs)}")
        outs[-1].mkdir()
        outs.append(sift("reddit", raw, outs[-1], sieve, identities, searched=seen))
    assert outs[1] == outs[3] and outs[1].done and plain_slot(outs[0]) == plain_slot(outs[2])
    assert b"Zyx" not in plain_slot(outs[0])


def test_authors_who_are_asked_for_again_and_again_are_noted_once(monkeypatch):
    monkeypatch.setattr(chats, "_CACHED", 10)
    names = KeyedNames(bytes(32), "reddit")
    authors = chats.Authors({author_hash("a7")}, [names])
    for _ in range(50):
        assert [n for n in range(100) if authors.hold(f"a{n}")] == [7]
        assert authors.bytes() <= 8 * (2 * 200 + 3 * 10)
    authors.clear_cache()
    seen = [name for n in range(100) for name in (f"a{n}", names.name(f"a{n}"))]
    assert all(authors.may_have_seen([author_hash(name)]) for name in seen)
    assert not authors.may_have_seen([author_hash("a100"), author_hash(names.name("a100"))])


def test_a_dump_that_ends_too_early_is_left(tmp_path):
    whole = dump_bytes(lines(*posts()) + b"".join(lines(comment(f"x{n}", random.Random(n).randbytes(400).hex()))
                                                 for n in range(400)))  # fmt: skip
    runs = dumped(tmp_path, "RC_2023-01.zst", b"")
    (tmp_path / "dumps" / "RC_2023-01.zst").write_bytes(whole[:-20])
    runs.run()
    before, ((_, raw),) = plain_slots(runs), runs.slots.values()
    wrong = Wrong()
    assert list(whole_lines([whole[:-20]], ".zst", wrong)) and wrong.stopped
    assert wrong.stopped.__traceback__ is None, "which would hold the window"
    (tmp_path / "out").mkdir()
    sieve = Sieve(authors=frozenset([author_hash("wilhelmina")]))
    found = sift("reddit", raw, tmp_path / "out", sieve, [runs.config.reading_identity()])
    assert re.fullmatch(r"RC_2023-01.zst: the .zst data end early, after \d+ bytes", found.why["2023-01"])
    assert sifted(runs, tmp_path / "new", authors=["wilhelmina"]) == ([], ["2023-01"])
    assert plain_slots(runs) == before


def plain_slots(runs):
    return [(out / name).read_bytes() for _, out in runs.slots.values() for name in ("content.bin", "items.jsonl")]


def test_a_dump_that_is_gone_is_taken_from_the_slot_before_as_it_is(tmp_path):
    runs = dumped(tmp_path)
    sifted(runs, tmp_path / "new", authors=["wilhelmina"])
    before = said(runs.read())
    (items, raw) = runs.slots[0]
    (tmp_path / "dumps" / "RC_2023-01.zst").unlink()
    out = tmp_path / "fetched"
    out.mkdir()
    runs.config.fetch(items, tmp_path, out, tmp_path, earlier=[raw])
    runs.slots[0] = (items, out)
    assert said(runs.read()) == before and b"Zyx" not in plain(runs) and next(read_items(out)).sifted


@pytest.mark.parametrize("way", ["threads", "posts"])
def test_the_shared_dumps_lose_one_person(tmp_path, way):
    if not (SHARED / "reddit").is_dir():
        pytest.skip("no shared dumps of Reddit here")
    (tmp_path / "dumps").mkdir()
    for name in ("RC_2023-01.zst", "RS_2023-01.zst"):
        shutil.copyfile(SHARED / "reddit" / name, tmp_path / "dumps" / name)
    runs = reddit_runs(tmp_path, documents=way)
    runs.run()
    before = runs.read()
    written = {one.decode() for one in re.findall(rb'"author": ?"([^"]+)"', plain(runs))} - {"[deleted]"}
    names = runs.config.names("reddit")
    author = max(sorted(written), key=lambda one: len(of(before, names.name(one.lower()))))
    gone = of(before, names.name(author.lower()))
    done, left = sifted(runs, tmp_path / "new", authors=[author.lower()])
    assert gone and (done, left) == (["2023-01"], [])
    assert f'"author":"{author}"'.encode() not in plain(runs).replace(b'": ', b'":')
    rest = [one for one in before if isinstance(one, Problem) or one.native_id not in gone]
    assert sorted(map(repr, said(runs.read()))) == sorted(map(repr, said(rest)))


# ----------------------------------------------------------------------------------------------------- a whole store

LONG = " It goes on for long enough to be kept, and says a little more than nothing at all."


@pytest.fixture
def mill(tmp_path, flow_server):
    """A store of a chat and of a dump, in which the person 77, alias wilhelmina, also wrote what cleaning drops."""
    mill = Mill(tmp_path)
    (tmp_path / "exports").mkdir()
    (tmp_path / "dumps").mkdir()
    messages = [
        message("2024-01-10T12:00", "Zyxwords of mine." + LONG * 9, "77"),
        message("2024-01-11T12:00", "January of others." + LONG * 9, "1"),
        message("2024-02-10T12:00", "Zyxshort", "77"),
        message("2024-02-11T12:00", "February of others." + LONG * 8, "1"),
        message("2024-03-11T12:00", "March of others." + LONG * 7, "1"),
    ]
    (tmp_path / "exports" / "a.json").write_bytes(export(messages))
    found = [
        submission(title="Zyxtitle", selftext=LONG * 6, author="77"),
        comment("c9", "Zyxshort", "t3_s9", "t3_s9", "77"),
        submission("s2", title="Another", selftext=LONG * 5, author="bob"),
    ]
    (tmp_path / "dumps" / "RS_2023-01.zst").write_bytes(dump_bytes(lines(*found)))
    mill.sources = {
        "chat": {"kind": "discord", "path": str(tmp_path / "exports"), "slot_bytes": 100},
        "posts": {"kind": "reddit", "path": str(tmp_path / "dumps")},
    }
    return mill


def held(mill):
    """The files of the store in which something of the person is, raw slots decompressed."""
    found = mill.holds("Zyx")
    for raw in mill.store.manifests("raw"):
        folder = mill.store.path(raw.ref)
        if b"Zyx" in plain_slot(folder) or b'"77"' in plain_slot(folder):
            found.append(str(raw.ref))
    return sorted(set(found))


def documents_of(mill, refs):
    """{name of a slot: its artifact}"""
    return {ref.name: ref.key for ref in refs["documents"]}


def test_a_person_goes_from_a_whole_store_killed_on_the_way_and_stays_out(mill, monkeypatch):
    refs = mill.run(sources=mill.sources, until="documents")
    assert len(refs["raw"]) == 4 and len({one.partition("/")[0] for one in held(mill)}) == 2
    config = DiscordConfig(path="exports")
    names = frozenset({"77", config.names("discord").name("77"), config.names("reddit").name("77")})
    untouched = {name for name, key in documents_of(mill, refs).items() if name == "chat-0002"}
    build, left = type(mill.store).build, [1]
    with monkeypatch.context() as patch:
        patch.setattr(type(mill.store), "build", dying(build, left))
        with pytest.raises(KeyboardInterrupt):
            mill.forget(names=names)
    assert held(mill)
    _, done = mill.forget(names=names)
    assert held(mill) == [] and not done.left and not list(mill.store.verify())
    channel = "800000000000000002"
    assert done.blanked <= {f"{channel}/2024-01", f"{channel}/2024-02", "2023-01"}
    assert len(done.blanked) >= 2, "one slot was built before, perhaps the one in which nothing goes"
    after = mill.run(sources=mill.sources, until="documents")
    assert mill.summary["cached"]["raw"] and held(mill) == []
    assert [one.key for one in after["raw"]] == [one.key for one in refs["raw"]]
    before, now = documents_of(mill, refs), documents_of(mill, after)
    assert {name for name in before if before[name] == now.get(name)} == untouched
    assert len(mill.ids()) == 4, "three of others in the chat, and a thread"
    _, again = mill.forget(names=names)
    assert not again.removed and not again.blanked and not again.left

    (mill.path / "dumps" / "RC_2023-01.zst").write_bytes(
        dump_bytes(lines(comment("c1", "Zyxnew" + LONG * 4, author="77")))
    )
    more = [
        message("2024-03-11T12:10", "Zyxanswer" + LONG * 7, "77"),
        message("2024-03-15T12:10", "Fresh." + LONG * 6, "1"),
    ]
    (mill.path / "exports" / "b.json").write_bytes(export(more, "2024-07-01T00:00:00+00:00"))
    mill.run(sources=mill.sources, until="documents")
    assert held(mill) == [] and any("Fresh" in text for text in texts_of(mill))


def texts_of(mill):
    return [text for one in Holdings(mill.store).documents for _, (text,) in one.rows("text")]
