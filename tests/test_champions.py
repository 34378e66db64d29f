"""The registry: who is champion after which decisions, and what is left of one that was cut off by a kill."""

import json
import os
import signal
import sys

import pytest

from data.errors import TextmillError
from data.manifest import ArtifactRef
from data.refs import RefMovedError, Refs
from data.store import Store
from flows.cli import app, run_app
from tasks import champions as registry
from tasks.champions import Champions, read_champions, recipe_of, resolve, write_champions
from tasks.news import news_since
from tasks.registry import identity


def model(number):
    return ArtifactRef("model", "toy", f"{number:016x}", "d" * 64)


def decided(refs, change):
    """Make a decision in a registry; returns the registry as it is read afterwards."""
    write_champions(refs, change(read_champions(refs, "toy")))
    return read_champions(refs, "toy")


def test_decisions_move_the_aliases_and_are_kept_in_order(tmp_path):
    refs = Refs(tmp_path)
    assert read_champions(refs, "toy") == Champions("toy")
    now = decided(refs, lambda one: one.promoted(model(1), ("first",)))
    assert (now.champion, now.challenger) == (model(1), None)
    now = decided(
        refs, lambda one: one.kept(model(2), ("worse",), corpus={"index": "corpus/x"}, scores={"val_bpb": 2.5})
    )
    assert (now.champion, now.challenger) == (model(1), model(2))
    now = decided(refs, lambda one: one.promoted(model(3), ("better",)).having_seen({"sources": {}}))
    assert (now.champion, now.challenger, now.seen) == (model(3), None, {"sources": {}})
    now = decided(refs, lambda one: one.rolled_back(("by hand",)))
    assert (now.champion, now.line) == (model(1), (model(1),))
    told = [(one.number, one.outcome, one.model, one.before, one.reasons) for one in now.history]
    assert told == [
        (1, "promoted", model(1), None, ("first",)),
        (2, "kept", model(2), model(1), ("worse",)),
        (3, "promoted", model(3), model(1), ("better",)),
        (4, "rolled back", model(1), model(3), ("by hand",)),
    ]
    assert now.history[1].scores == {"val_bpb": 2.5} and now.history[1].corpus == {"index": "corpus/x"}
    assert now.seen == {"sources": {}}, "going back is no reason to train again"
    with pytest.raises(TextmillError, match=f"cannot be rolled back: {model(1)} is its first champion"):
        now.rolled_back(("again",))


def test_rolling_back_twice_goes_two_champions_back():
    three = Champions("toy").promoted(model(1), ()).promoted(model(2), ()).promoted(model(3), ())
    assert three.rolled_back(()).rolled_back(()).champion == model(1)


def test_old_decisions_are_forgotten_and_numbers_go_on(monkeypatch):
    monkeypatch.setattr(registry, "KEPT_DECISIONS", 3)
    monkeypatch.setattr(registry, "KEPT_CHAMPIONS", 2)
    now = Champions("toy")
    for number in range(1, 6):
        now = now.promoted(model(number), ())
    assert [one.number for one in now.history] == [3, 4, 5] and now.line == (model(4), model(5))


def test_of_two_that_decide_at_once_the_second_is_told(tmp_path):
    refs = Refs(tmp_path)
    seen = read_champions(refs, "toy")
    decided(refs, lambda one: one.promoted(model(1), ()))
    with pytest.raises(RefMovedError, match=r"changed by another run.*run it again"):
        write_champions(refs, seen.promoted(model(2), ()))
    assert read_champions(refs, "toy").champion == model(1)


def killed_at(write, root, work):
    """Do `work` in a process that is killed just before its `write`th change below `root`; whether it was."""
    child = os.fork()
    if not child:
        count = 0

        def hook(event, args):
            nonlocal count
            writes = event in ("os.rename", "os.mkdir", "os.remove") or (
                event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
            )
            if writes and str(args[0]).startswith(str(root)):
                count += 1
                if count == write:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_kill_between_any_two_writes_leaves_the_decision_made_or_not_made(tmp_path):
    states, write = [], 0
    while True:
        write += 1
        refs = Refs(tmp_path / f"{write}" / "refs")
        before = decided(refs, lambda one: one.promoted(model(1), ("first",)).having_seen({"at": 1}))
        change = before.promoted(model(2), ("better",)).having_seen({"at": 2})
        if not killed_at(write, refs.root, lambda refs=refs, change=change: write_champions(refs, change)):
            break
        after = read_champions(refs, "toy")
        states.append(after.champion)
        made = (after.champion, len(after.history), after.seen) == (model(2), 2, {"at": 2})
        assert made or after == before, f"write {write} left a bit of both"
        again = decided(refs, lambda one, made=made: one if made else one.promoted(model(2), ("better",)))
        assert again.champion == model(2) and len(again.history) == 2
    assert len(states) >= 4 and states[0] == model(1), "the pointer moves at the end only"


def test_a_decision_that_names_no_flow_run_is_read(tmp_path):
    refs = Refs(tmp_path)
    decided(refs, lambda one: one.promoted(model(1), (), run="a flow run"))

    def older(value):
        return value | {"history": [{key: one[key] for key in one if key != "run"} for one in value["history"]]}

    assert read_champions(refs, "toy").history[0].run == "a flow run"
    refs.update("champions/toy", older)
    assert read_champions(refs, "toy").history[0].run == ""


@pytest.mark.parametrize("damage", [{"format": 9}, {"line": [{"stage": "model"}]}, {"history": [{"outcome": "lost"}]}])
def test_a_registry_of_another_form_is_refused_with_the_remedy(tmp_path, damage):
    refs = Refs(tmp_path)
    decided(refs, lambda one: one.promoted(model(1), ()))
    refs.update("champions/toy", lambda value: value | damage)
    with pytest.raises(TextmillError, match=r"registry .*champions.toy cannot be read.*delete it"):
        read_champions(refs, "toy")


SURVEY = {
    "sources": {"a": {"slots": 1, "items": 3, "bytes": 900, "digest": "x"}},
    "forgotten": {"a": "none"},
    "again": [],
    "settings": {"training": {"steps": 5}},
}


def test_news_are_told_by_source():
    assert news_since(SURVEY, SURVEY | {"corpus": "anything"}) == []
    assert news_since(None, SURVEY) == ["no decision was made before"]
    source = SURVEY["sources"]["a"]
    grown = SURVEY | {"sources": {"a": source | {"items": 5, "bytes": 1500, "digest": "y"}}}
    assert news_since(SURVEY, grown) == ["a: 2 items more, +600 bytes"]
    assert news_since(grown, SURVEY) == ["a: 2 items fewer, -600 bytes"]
    edited = SURVEY | {"sources": {"a": source | {"digest": "z"}}}
    assert news_since(SURVEY, edited) == ["a: items changed, 3 items as before"]
    assert news_since(grown, edited | {"forgotten": {"a": "one"}}) == ["a: text was taken down"]
    more = SURVEY | {"sources": {"a": source, "b": source}, "settings": {"training": {"steps": 7}}, "again": ["b 1/1"]}
    assert news_since(SURVEY, more) == [
        "b: the source is new",
        "b 1/1: what its server failed to give is asked for again",
        "settings: training.steps was 5 and is 7",
    ]
    assert news_since(more, SURVEY)[0] == "b: the source is gone"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTMILL_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


@pytest.fixture
def textmill(store, monkeypatch, capfd):
    """Runs a command in this process; returns its exit code, stdout and stderr."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["textmill", *arguments])
        capfd.readouterr()
        return run_app(app), *capfd.readouterr()

    return command


def published(store, stage, number, name="my-books"):
    def make(build):
        (build.out / "payload").write_text(str(number))
        from data.facts import Facts

        return Facts()

    return store.build(identity(stage, {"number": number}, {}), name, make)


def test_the_commands_promote_roll_back_and_tell(store, textmill):
    one, two = published(store, "model", 1), published(store, "model", 2)
    code, out, _ = textmill("models")
    assert code == 0 and "No model was promoted yet" in out
    assert textmill("promote", str(one), "--recipe", "my books", "--reason", "it reads well")[0] == 0
    assert recipe_of(store, two) == "my books", "a name that a folder cannot have is found again"
    code, out, _ = textmill("promote", two.key[:10])
    assert code == 0 and f"my books: champion {two}, before {one}" in out
    code, out, _ = textmill("models", "my books")
    assert code == 0 and "by hand: it reads well" in out and str(two) in out.splitlines()[0]
    code, out, _ = textmill("models", "--json")
    [told] = json.loads(out)
    assert (told["champion"], told["line"]) == (str(two), [str(one), str(two)])
    assert [one["outcome"] for one in told["history"]] == ["promoted", "promoted"]
    assert textmill("show", "champion:my books")[1].splitlines()[0] == str(two)
    assert textmill("rollback", "my books", "--reason", "no")[0] == 0
    assert resolve(store, "champion:my books") == one
    code, out, _ = textmill("models")
    assert code == 0 and out.splitlines()[1].startswith("my books") and str(one) in out


def test_what_cannot_be_is_said_in_one_line(store, textmill):
    one, two = published(store, "model", 1), published(store, "model", 2)
    published(store, "tokens", 3)
    textmill("promote", str(one))
    for arguments, code, words in (
        (["models", "nosuch"], 2, ["registry of a recipe", "nosuch", "my-books"]),
        (["promote", "tokens/my-books-"], 1, ["tokens/my-books-"]),
        (["promote", str(one)], 1, ["is the champion", "already"]),
        (["rollback", "nosuch"], 1, ["nosuch", "no champion", "textmill promote REF"]),
        (["rollback", "my-books"], 1, ["its first champion"]),
        (["show", "challenger:my-books"], 1, ["has no challenger", "my-books", "textmill models"]),
        (["generate", "--model", "champion:other"], 1, ["has no champion", "my-books"]),
    ):
        found, out, err = textmill(*arguments)
        assert (found, out) == (code, ""), err
        assert len(err.splitlines()) == 1 and all(word in err for word in words), err
    textmill("promote", str(two))
    store.remove(two)
    code, _, err = textmill("show", "champion:my-books")
    assert code == 1 and f"is {two}, which is gone" in err and "textmill rollback my-books" in err
    store.remove(one)
    code, _, err = textmill("rollback", "my-books")
    assert code == 1 and resolve_line(store) == (one, two), "nobody goes back to what is gone"


def resolve_line(store):
    return read_champions(store.refs, "my-books").line


def test_the_picture_pairs_what_was_scored_on_the_same_text():
    from tasks.decision_card import decision_card
    from tasks.decision_picture import draw_decisions, points_of

    checks = [
        {"source": "books", "kind": "frozen", "passages": 64, "value": 1.9, "before": 1.7, "low": 0.1, "high": 0.3}
        | {"result": "worse"}
    ]
    now = Champions("my books").promoted(model(1), ("first",), scores={"val_bpb": 2.0})
    now = now.promoted(model(2), ("b",), scores={"totals": {"frozen": [1.7, 2.0], "all": [1.6, 2.1]}})
    scores = {"totals": {"frozen": [1.9, 1.7]}, "checks": checks, "memorisation": {"value": 0.02, "before": None}}
    now = now.kept(model(3), ("c",), scores=scores)
    now = now.rolled_back(("by hand",))
    points = points_of(now.history)
    assert (points.promoted, points.kept, points.before) == ([(1, 2.0), (2, 1.7)], [(3, 1.9)], [(2, 2.0), (3, 1.7)])
    assert draw_decisions(now.history).startswith(b"\x89PNG")
    assert draw_decisions(now.history[-1:]).startswith(b"\x89PNG"), "of decisions without scores an empty one"
    before = Champions("my books", now.line, model(3), now.history[:3])
    card = decision_card(before, None)
    assert (
        card.startswith("# my books: kept")
        and "| books | frozen | 64 | 1.7000 | 1.9000 | +0.1000 to +0.3000 | worse |" in card
    )
    assert "verbatim at 2.0%" in card and "not measured" in card
