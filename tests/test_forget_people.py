"""Forgetting people in chats, in stores filled by hand: all of it is done, or it is said why nothing was."""

import errno
import shutil
import sys
import time

import pytest

from data import published
from data.building import begin_build
from data.cleaning import CleanConfig
from data.documents import clean_slot
from data.errors import TextmillError
from data.facts import Facts
from data.forgetting import purging
from data.forgetting.begun import NAME
from data.forgetting.holdings import Holdings
from data.forgetting.people import spellings
from data.forgetting.plan import plan
from data.forgetting.purging import carry_out
from data.forgetting.sifting import search_slot, sift
from data.forgetting.tombstones import Sieve, author_hash, read_tombstones
from data.forgetting.wanted import Wanted
from data.housekeeping import claims
from data.housekeeping.claims import collection
from data.manifest import Identity, canonical_json
from data.replacing import ASIDE
from data.sources import secrets
from data.sources.discord import DiscordConfig
from data.sources.known import note_source, source_id
from data.sources.pack import PackReader, read_items
from data.store import Store
from data.work import has_files
from flows.cli import app, run_app
from tasks import sources as raw_stage
from tasks.secrets import prefect_secret
from tests.discord_exports import CHANNEL, discord_runs, export, message
from tests.discord_toys import GENERAL, at, config, fast_clock, serve
from tests.reddit_dumps import lines, reddit_runs, submission
from tests.remote_runs import Runs
from tests.stand_in_discord import message as api_message

KEY = "TEXTMILL_PSEUDONYM_KEY"


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv(KEY, "a secret of the tests, long enough")
    monkeypatch.setattr(secrets, "elsewhere", [])  # no server is asked


def talk():
    return [
        message("2024-01-10T10:00", "Good morning.", "1"),
        message("2024-01-11T10:00", "Zyxfirst of seven.", "77"),
        message("2024-01-12T10:00", "Zyxsecond of eight.", "88"),
        message("2024-02-10T10:00", "February.", "1"),
    ]


def exported(path, messages=None, **settings):
    (path / "exports").mkdir()
    (path / "exports" / "a.json").write_bytes(export(messages or talk()))
    runs = discord_runs(path, **settings)
    runs.run()
    return runs


def publish(store, runs, source, name="chat", documents=True):
    """Raw slots of runs, and documents read from them."""
    for number, (_, raw) in runs.slots.items():

        def fill(build, raw=raw):
            shutil.copytree(raw, build.out, dirs_exist_ok=True)
            return Facts()

        slot = f"{name}-{number:04d}"
        ref = store.build(Identity("raw", 1, {"kind": source.kind, "number": number}, {}), slot, fill)
        note_source(store.refs, source, name, [ref.key])
        if documents:
            recipe = {"reading": source.reading_identity(), "source": name, "licence": "CC0-1.0"}

            def clean(build, ref=ref):
                found = source.read(store.path(ref))
                return clean_slot(found, build.out, CleanConfig(min_characters=5), name, "CC0-1.0")

            store.build(Identity("documents", 1, recipe, {"raw": ref.digest}), slot, clean, [ref])


@pytest.fixture
def filled(tmp_path):
    """A store with one slot of a chat."""
    store, runs = Store(tmp_path / "store"), exported(tmp_path)
    publish(store, runs, runs.config)
    return store


def forget(store, author, source=None):
    holdings = Holdings(store)
    names = spellings(holdings, author, KEY)
    planned = plan(holdings, Wanted(names=names, source=source, author=author))
    return carry_out(store, planned, [author_hash(name) for name in names])


def raw_bytes(store):
    return b"".join((store.path(one.ref) / "content.bin").read_bytes() for one in store.manifests("raw"))


def texts(store):
    return [text for held in Holdings(store).documents for _, (text,) in held.rows("text")]


def buried(store):
    return [read_tombstones(store.refs, one.id) for one in Holdings(store).sources.values()]


def test_one_person_goes_after_another_without_a_run_between(filled):
    forget(filled, "77")
    assert texts(filled) == [] and b"Zyxsecond" in raw_bytes(filled)
    (known,) = Holdings(filled).sources.values()
    note_source(filled.refs, DiscordConfig(path="exports"), "chat", [])  # as the next look does
    assert next(iter(Holdings(filled).sources.values())).read == known.read != ()
    filled.refs.update(NAME, lambda _: None)
    done = forget(filled, "88")
    assert b"Zyx" not in raw_bytes(filled) and done.blanked == {f"{CHANNEL}/2024-01"} and not done.left
    assert filled.refs.read(NAME).value, "other machines hear of it though no artifact was removed"


def test_a_slot_of_which_nobody_knows_how_it_was_read_is_refused(tmp_path):
    store, runs = Store(tmp_path / "store"), exported(tmp_path)
    publish(store, runs, runs.config, documents=False)
    with pytest.raises(TextmillError, match=r"chat \(discord.* Run its recipe once"):
        forget(store, "77")
    assert not buried(store)[0].authors


def test_without_the_right_secret_only_made_names_are_forgotten(filled, monkeypatch):
    made = DiscordConfig(path="exports").names("discord").name("77")
    for change in (lambda: monkeypatch.setenv(KEY, "another secret, as long as it"), lambda: monkeypatch.delenv(KEY)):
        change()
        with pytest.raises(TextmillError, match=f"chat .*{KEY}.*--pseudonym-key"):
            forget(filled, "77")
        assert not buried(filled)[0].authors
    done = forget(filled, made)
    assert b"Zyxfirst" not in raw_bytes(filled) and not done.left and buried(filled)[0].authors


@pytest.mark.parametrize("kind", ["discord", "reddit"])
def test_numbered_authors_are_refused_where_they_are_found(tmp_path, kind):
    store = Store(tmp_path / "store")
    if kind == "discord":
        runs, author = exported(tmp_path, pseudonyms="numbered"), "77"
    else:
        (tmp_path / "dumps").mkdir()
        (tmp_path / "dumps" / "RS_2023-01.ndjson").write_bytes(lines(submission(author="Wilhelmina")))
        runs, author = reddit_runs(tmp_path, pseudonyms="numbered"), "u/Wilhelmina"
        runs.run()
    publish(store, runs, runs.config)
    with pytest.raises(TextmillError, match=r"numbered.*--document"):
        forget(store, author)
    with pytest.raises(TextmillError, match="Nothing of that author"):
        forget(store, "99")
    assert not buried(store)[0].authors


def test_killed_while_a_slot_is_replaced_it_goes_on(filled, monkeypatch):
    def die(existing, out, final):
        aside = existing.parent / ASIDE / existing.name
        aside.parent.mkdir()
        existing.rename(aside)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(published, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            forget(filled, "77")
    assert not forget(filled, "77").left
    assert b"Zyxfirst" not in raw_bytes(filled) and b"Zyxsecond" in raw_bytes(filled)


@pytest.mark.parametrize("is_killed", [False, True])
def test_documents_that_quote_a_person_go_with_what_raw_has(tmp_path, monkeypatch, is_killed):
    own = api_message(at(2024, 1, 10), "Zyxwords of mine.", "300000000000000077")
    answer = api_message(at(2024, 1, 11), "An answer.", type=19, message_reference={"message_id": own["id"]},
                         referenced_message=own)  # fmt: skip
    with serve(monkeypatch, fast_clock(monkeypatch), {GENERAL: [answer]}):
        runs = Runs(tmp_path, config())
        runs.run()
    store = Store(tmp_path / "store")
    publish(store, runs, config())
    assert "Zyxwords" in texts(store)[0]
    if is_killed:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "remove", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                forget(store, "300000000000000077")
        assert b"Zyx" not in raw_bytes(store) and texts(store)
    forget(store, "300000000000000077")
    assert b"Zyx" not in raw_bytes(store) and texts(store) == []


@pytest.mark.parametrize("kind", ["discord", "reddit"])
def test_a_slot_is_read_three_times_and_never_held(tmp_path, monkeypatch, kind):
    """To find what goes, to write the rest, and to compare what was written."""
    store, taken = Store(tmp_path / "store"), []
    if kind == "discord":
        runs = exported(tmp_path)
    else:
        (tmp_path / "dumps").mkdir()
        found = [submission(f"s{n}", title="Zyx", author=str(77 + n % 2)) for n in range(9)]
        (tmp_path / "dumps" / "RS_2023-01.ndjson").write_bytes(lines(*found))
        runs = reddit_runs(tmp_path)
        runs.run()
    publish(store, runs, runs.config)
    size, chunks = len(raw_bytes(store)), PackReader.chunks

    def counted(reader, item):
        for chunk in chunks(reader, item):
            taken.append(len(chunk))
            yield chunk

    monkeypatch.setattr(PackReader, "chunks", counted)
    done = forget(store, "77")
    assert done.blanked and not done.left and b'"77"' not in raw_bytes(store)
    assert 2 * size < sum(taken) <= 3 * size
    taken.clear()
    forget(store, "88" if kind == "discord" else "78")
    assert sum(taken) <= 3 * size, "whom was forgotten before is known not to be there any more"


def test_what_planning_saw_is_enough_only_if_nothing_else_goes(tmp_path):
    runs = exported(tmp_path)
    ((_, raw),) = runs.slots.values()
    identities, names = [runs.config.reading_identity()], runs.config.names("discord")
    hashes = {who: author_hash(names.name(who)) for who in ("77", "88", "99")}
    searched = search_slot("discord", raw, {hashes["77"]}, identities)
    (own,) = (one for one in runs.read() if names.name("77") in one.authors)
    other = next(one for one in runs.read() if one.native_id != own.native_id)

    def enough(documents=(), authors=(), ways=identities):
        return searched.is_all_that_goes(Sieve(frozenset(documents), frozenset(authors)), ways)

    assert searched.items() == {f"{CHANNEL}/2024-01": {own.native_id}}
    assert enough([own.native_id, "of another slot"], [hashes["77"], hashes["99"]])
    assert not enough([own.native_id, other.native_id], [hashes["77"]])
    assert not enough([own.native_id], [hashes["77"], hashes["88"]])
    assert not enough(ways=[*identities, DiscordConfig(path="exports", silence_minutes=100).reading_identity()])


def test_killed_between_two_readings_both_are_known_afterwards(filled, monkeypatch):
    """Of one raw slot there are documents of two recipes, and the process dies when those of one are gone."""
    (raw,), (known,) = filled.manifests("raw"), Holdings(filled).sources.values()
    longer = DiscordConfig(path="exports", silence_minutes=100)
    recipe = {"reading": longer.reading_identity(), "source": "longer", "licence": "CC0-1.0"}

    def clean(build):
        return clean_slot(longer.read(filled.path(raw.ref)), build.out, CleanConfig(min_characters=5), "longer", "CC0")

    filled.build(Identity("documents", 1, recipe, {"raw": raw.ref.digest}), "longer-0001", clean, [raw.ref])
    both = {canonical_json(one) for one in Holdings(filled).readings_of(known.id)}
    assert len(both) == 2
    remove = Store.remove

    def die(store, ref):
        remove(store, ref)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "remove", die)
        with pytest.raises(KeyboardInterrupt):
            forget(filled, "77")
    (left,) = Holdings(filled).documents
    assert {canonical_json(one) for one in Holdings(filled).readings(left.raw, known.id)} == both
    forget(filled, "77")
    assert b"Zyxfirst" not in raw_bytes(filled) and texts(filled) == []
    (known,) = Holdings(filled).sources.values()
    assert {canonical_json(one) for one in known.read} == both and not known.is_being_forgotten
    assert not forget(filled, "88").left and b"Zyx" not in raw_bytes(filled)


def test_others_hear_of_a_forgetting_that_outlasts_its_claim(filled, tmp_path, monkeypatch):
    other = Store(tmp_path / "another machine")
    other.root.mkdir()
    (other.root / "refs").symlink_to(filled.root / "refs")
    monkeypatch.setattr(claims, "COLLECTION_LEASE", 1.2)
    refused = []

    def slow(*arguments, **others):
        time.sleep(2)
        with pytest.raises(TextmillError, match="is cleaning up"), collection(other):
            pass
        refused.append(True)
        return sift(*arguments, **others)

    monkeypatch.setattr(purging, "sift", slow)
    forget(filled, "77")
    assert refused and b"Zyxfirst" not in raw_bytes(filled)
    with collection(other):
        pass


def test_a_refs_folder_that_is_away_for_a_moment_ends_no_claim(filled, monkeypatch):
    monkeypatch.setattr(claims, "COLLECTION_LEASE", 0.4)
    asked = []

    def keep(claim):
        asked.append(claim.id)
        raise OSError(errno.ESTALE, "Stale file handle")

    with collection(filled) as claim, monkeypatch.context() as patch:
        patch.setattr(claims.Claim, "keep", keep)
        with claim.kept():
            end = time.monotonic() + 10
            while len(asked) < 3 and time.monotonic() < end:
                time.sleep(0.01)
    assert len(asked) >= 3


def die_on_removal(store, author, monkeypatch, source=None):
    with monkeypatch.context() as patch:
        patch.setattr(Store, "remove", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            forget(store, author, source)


def read_anew(store):
    """The documents of the only raw slot, as a rerun makes them with the secret that is there now."""
    for held in Holdings(store).documents:
        store.remove(held.manifest.ref)
    ((raw,), source) = store.manifests("raw"), DiscordConfig(path="exports")
    recipe = {"reading": source.reading_identity(), "source": "chat", "licence": "CC0-1.0"}

    def clean(build):
        return clean_slot(source.read(store.path(raw.ref)), build.out, CleanConfig(min_characters=5), "chat", "CC0-1.0")

    store.build(Identity("documents", 1, recipe, {"raw": raw.ref.digest}), "chat-0001", clean, [raw.ref])


def test_killed_and_with_another_secret_since_it_goes_on_after_a_run(filled, monkeypatch):
    die_on_removal(filled, "77", monkeypatch)
    monkeypatch.setenv(KEY, "another secret of the tests")
    with pytest.raises(TextmillError, match="made with a secret that is not the one"):
        forget(filled, "77")
    read_anew(filled)
    assert len(texts(filled)) == 3, "what was forgotten with the old name is not in raw"
    assert not forget(filled, "88").left
    assert b"Zyx" not in raw_bytes(filled) and texts(filled) == []
    (known,) = Holdings(filled).sources.values()
    assert not known.is_being_forgotten and len({one["pseudonym_key"] for one in known.read}) == 2


def test_a_source_that_went_as_a_whole_is_not_half_gone(filled, monkeypatch):
    die_on_removal(filled, "77", monkeypatch)
    (known,) = Holdings(filled).sources.values()
    assert known.is_being_forgotten
    carry_out(filled, plan(Holdings(filled), Wanted(source="chat")))
    (known,) = Holdings(filled).sources.values()
    assert not known.is_being_forgotten and not list(filled.manifests("raw"))


def test_what_planning_saw_does_not_count_for_what_lies_there_since(filled, monkeypatch):
    """Between the look at the manifest and the lock another machine takes somebody else out."""
    build, sift, seen = Store.build, purging.sift, []
    ((raw,), source) = filled.manifests("raw"), DiscordConfig(path="exports")
    name = source.names("discord").name("88")
    others = Sieve(authors=frozenset([author_hash("88"), author_hash(name)]))

    def late(store, identity, name, make, **settings):
        def change(own):
            sift("discord", store.path(raw.ref), own.out, others, [source.reading_identity()])
            return Facts()

        build(store, raw.recipe, raw.name, change, refresh=True)
        return build(store, identity, name, make, **settings)

    def noted(*arguments, searched=None, **settings):
        seen.append(searched)
        return sift(*arguments, searched=searched, **settings)

    monkeypatch.setattr(purging, "sift", noted)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "build", late)
        assert not forget(filled, "77").left
    assert seen == [None] and b"Zyx" not in raw_bytes(filled)


def test_a_person_is_kept_out_of_all_sources_that_are_meant(filled, tmp_path):
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "RS_2023-01.ndjson").write_bytes(lines(submission(author="bob")))
    runs = reddit_runs(tmp_path)
    runs.run()
    publish(filled, runs, runs.config, "posts")
    (held,) = (one for one in Holdings(filled).documents if one.name == "posts")
    forget(filled, "88", source="chat")
    assert not read_tombstones(filled.refs, source_id(runs.config)).authors
    forget(filled, "77")
    posts = read_tombstones(filled.refs, source_id(runs.config))
    assert author_hash(runs.config.names("reddit").name("77")) in posts.authors
    assert posts.concerning(held.plain_key) is None and posts.concerning("another")
    assert held.key in {one.key for one in Holdings(filled).documents}


def test_only_the_month_of_a_conversation_is_dropped_as_a_whole(filled):
    (held,) = Holdings(filled).documents
    (wanted,) = (native_id for _, (native_id, text) in held.rows("native_id", "text") if "February" in text)
    planned = plan(Holdings(filled), Wanted(documents=frozenset([wanted])), drop_items=True)
    assert [gone.items for gone in planned.by_source.values()] == [{f"{CHANNEL}/2024-02"}]


def test_what_is_sifted_lies_nowhere_that_outlives_a_killed_fetch(tmp_path, monkeypatch):
    runs = exported(tmp_path)
    source = runs.config.model_copy(update={"path": str(tmp_path / "exports")})
    build, sift = begin_build(tmp_path / "work" / "raw-1"), raw_stage.sift

    def look(kind, raw, *arguments):
        assert has_files(raw) and not has_files(build.keep)
        return sift(kind, raw, *arguments)

    monkeypatch.setattr(raw_stage, "sift", look)
    forgotten = Sieve(authors=frozenset([author_hash(runs.config.names("discord").name("77"))]))
    ((items, _),) = runs.slots.values()
    store = Store(tmp_path / "store")
    raw_stage._fetch("chat", source, items, store, [], forgotten, build, lambda *_: None)
    assert b"Zyxfirst" not in (build.out / "content.bin").read_bytes() and not (build.out.parent / "fetched").exists()


def test_a_dump_that_cannot_be_opened_is_taken_from_the_slot_before_as_it_is(tmp_path):
    (tmp_path / "dumps").mkdir()
    file = tmp_path / "dumps" / "RS_2023-01.ndjson"
    file.write_bytes(lines(submission(author="Wilhelmina"), submission("s2", author="bob")))
    runs = reddit_runs(tmp_path)
    runs.run()
    ((items, raw),) = runs.slots.values()
    store = Store(tmp_path / "store")
    publish(store, runs, runs.config, "posts")
    forget(store, "Wilhelmina")
    (manifest,) = store.manifests("raw")
    file.unlink()
    file.mkdir()  # it is there, and cannot be opened
    out = tmp_path / "fetched"
    out.mkdir()
    runs.config.fetch(items, tmp_path, out, tmp_path, earlier=[store.path(manifest.ref)])
    (item,) = read_items(out)
    assert item.sifted and len(list(runs.config.read(out))) == len(list(runs.config.read(store.path(manifest.ref))))
    assert item.meta != next(read_items(raw)).meta, "its files have other sizes than they had"


def test_where_no_way_of_reading_is_known_every_item_is_left(tmp_path):
    """Also one from which somebody else was taken before."""
    runs, sieve = exported(tmp_path), Sieve(authors=frozenset([author_hash("77")]))
    ((_, raw),) = runs.slots.values()
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
    names = frozenset([author_hash("77"), author_hash(runs.config.names("discord").name("77"))])
    done = sift("discord", raw, tmp_path / "once", Sieve(authors=names), [runs.config.reading_identity()])
    assert done.done == (f"{CHANNEL}/2024-01",)
    assert sift("discord", tmp_path / "once", tmp_path / "again", sieve, []).left == tuple(
        item.native_id for item in read_items(raw)
    )


def test_the_command_asks_prefect_too_and_shows_the_sources_that_are_concerned(filled, tmp_path, capfd, monkeypatch):
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "RS_2023-01.ndjson").write_bytes(lines(submission(author="bob")))
    runs = reddit_runs(tmp_path)
    runs.run()
    publish(filled, runs, runs.config, "posts")
    monkeypatch.setattr(sys, "argv", ["textmill", "forget", "--author", "77", "--dry-run"])
    monkeypatch.setenv("TEXTMILL_STORE", str(filled.root))
    assert run_app(app) == 0
    out = capfd.readouterr().out
    assert "chat (discord" in out and "posts" not in out
    assert prefect_secret in secrets.elsewhere
