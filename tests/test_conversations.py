"""Conversations from messages: hand-worked cases, and what holds for any messages."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sources.base import SourceError
from data.sources.chats import conversations as module
from data.sources.chats.conversations import ConversationBuilder, Message, Quoted, StartMonths, month_of, why_dropped
from data.sources.chats.pseudonyms import KeyedNames, NumberedNames, PseudonymSettings

MINUTE = 60_000


def ms(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class PlainNames:
    """Names that a test can read: the id with a letter before it."""

    def begin(self):
        pass

    def name(self, author):
        return f"P{author}"


def cut(messages, silence=60, maximum=10_000, names=None):
    builder = ConversationBuilder(silence, maximum, names or PlainNames())
    return list(builder.conversations(messages))


def test_silence_ends_a_conversation():
    found = cut(
        [
            Message("10", 0, "1", "Hello."),
            Message("11", 59 * MINUTE, "2", " Hello yourself.\n"),
            Message("12", 119 * MINUTE, "1", "Anybody?"),
        ]
    )
    assert [(one.id, one.started, one.ended, one.messages, one.authors, one.text) for one in found] == [
        ("10", 0, 59 * MINUTE, 2, ("P1", "P2"), "P1: Hello.\nP2: Hello yourself."),
        ("12", 119 * MINUTE, 119 * MINUTE, 1, ("P1",), "P1: Anybody?"),
    ]


def test_replies_keep_their_context():
    found = cut(
        [
            Message("10", 0, "1", "A question " * 20),
            Message("20", 100 * MINUTE, "2", "An answer.", reply_to="10"),
            Message("21", 101 * MINUTE, "3", "To the one before.", reply_to="20"),
            Message("22", 102 * MINUTE, "1", "To an earlier one.", reply_to="20"),
            Message("23", 103 * MINUTE, "1", "To what nobody knows.", reply_to="9"),
            Message(
                "24", 104 * MINUTE, "1", "To what the source knows.", reply_to="8", quoted=Quoted("4", "Old\nnews <@1>")
            ),
            Message("25", 105 * MINUTE, "1", "To myself.", reply_to="22"),
        ]
    )
    quoted = "A question " * 10 + "A…"
    assert found[1].text.split("\n") == [
        f"> P1: {quoted}",
        "P2: An answer.",
        "P3: To the one before.",
        "P1 (to P2): To an earlier one.",
        "P1: To what nobody knows.",
        "> P4: Old news @P1",
        "P1: To what the source knows.",
        "P1: To myself.",
    ]


def test_a_quote_shows_no_part_of_an_id():
    for length in range(440, 500):
        text = "<:e:1234567890123456789>" * 17 + "." * (length - 440) + "<@335274206822400006><@335274206822400006>"
        messages = [Message("10", 0, "1", text), Message("20", 100 * MINUTE, "2", "Yes.", reply_to="10")]
        assert "3352" not in cut(messages, names=KeyedNames(b"k" * 32, "discord"))[1].text


def test_only_the_last_messages_are_remembered(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 4)
    messages = [Message(str(n), n * 100 * MINUTE, "1", f"text {n}") for n in range(8)]
    late = [Message("9", 1000 * MINUTE, "2", "late", "3"), Message("10", 2000 * MINUTE, "2", "late", "7")]
    assert [one.text for one in cut(messages + late)][-2:] == ["P2: late", "> P1: text 7\nP2: late"]


def test_a_conversation_that_is_too_long_is_cut_between_messages():
    messages = [Message(str(n), n, "1", "x" * 10) for n in range(10)]
    found = cut(messages, maximum=45)
    assert [one.messages for one in found] == [3, 3, 3, 1]
    assert max(len(one.text) for one in found) <= 45
    assert [one.messages for one in cut([Message("1", 0, "1", "x" * 100)], maximum=45)] == [1], "a message stays whole"


def test_markup_becomes_text():
    text = "<@1> <@!2> <@&3> <#4> <:blob:5> <a:dance:6> </roll:7> <id:guide> a < b <@x> @everyone"
    assert cut([Message("1", 0, "9", text)])[0].text == (
        "P9: @P1 @P2 @role #channel :blob: :dance: /roll  a < b <@x> @everyone"
    )


@pytest.mark.parametrize(
    ("kind", "is_bot", "text", "reason"),
    [
        ("Default", False, "text", None),
        ("Reply", False, "text", None),
        ("0", False, "text", None),
        ("19", False, "text", None),
        ("Default", True, "text", "bot"),
        ("Default", False, " \n", "empty"),
        ("GuildMemberJoin", True, "Joined the server.", "GuildMemberJoin"),
        ("7", False, "", "kind_7"),
    ],
)
def test_what_nobody_wrote_is_dropped(kind, is_bot, text, reason):
    assert why_dropped(kind, is_bot, text) == reason


def test_a_month_begins_with_its_first_conversation():
    months = StartMonths(60)
    asked = {
        "2023-12-31T23:00": "2023-12",
        "2024-01-31T23:30": "2024-01",
        "2024-02-01T00:15": "2024-01",  # 45 minutes later: still the conversation of January
        "2024-02-01T01:14": "2024-01",
        "2024-02-01T02:14": "2024-02",  # an hour of silence
        "2024-02-01T02:15": "2024-02",
        "2024-07-09T00:00": "2024-07",
    }
    assert {at: months.month(ms(at)) for at in asked} == asked


def test_a_month_begins_after_a_day_where_nobody_falls_silent():
    months = StartMonths(60)
    start = ms("2024-01-30T00:00")
    labels = [months.month(start + n * MINUTE) for n in range(10 * 24 * 60)]
    assert labels.count("2024-01") == 3 * 24 * 60, "30 and 31 January and the first day of February"
    assert set(labels) == {"2024-01", "2024-02"}
    assert month_of(ms("2024-12-31T23:59")) == ("2024-12", ms("2025-01-01T00:00"))


MESSAGES = st.lists(
    st.tuples(st.integers(0, 90 * MINUTE), st.sampled_from("123"), st.text(max_size=30), st.integers(-1, 30)),
    max_size=30,
)


@given(MESSAGES, st.integers(1, 200))
def test_no_message_is_lost_and_cuts_are_where_they_should_be(made, maximum):
    messages, at = [], 0
    for number, (pause, author, text, answered) in enumerate(made):
        at += pause
        messages.append(Message(str(number), at, author, text, str(answered) if answered >= 0 else None))
    found = cut(messages, maximum=maximum)
    assert sum(one.messages for one in found) == len(messages)
    starts = [int(one.id) for one in found]
    assert starts == sorted(starts)
    for before, after in pairwise(found):
        first = messages[int(after.id)]
        is_silence = after.started - before.ended >= 60 * MINUTE
        is_full = len(before.text) + len(f"\nP1: {first.text.strip()}") > maximum
        assert is_silence or is_full or first.reply_to, "a reply's context counts, too"
    for one in found:
        times = [message.at for message in messages if one.started <= message.at <= one.ended]
        assert all(b - a < 60 * MINUTE for a, b in pairwise(times))
        assert len(one.text) <= maximum or one.messages == 1


@given(MESSAGES)
def test_adding_messages_changes_the_last_conversation_only(made):
    messages, at = [], 0
    for number, (pause, author, text, _) in enumerate(made):
        at += pause
        messages.append(Message(str(number), at, author, text))
    whole = cut(messages)
    for end in range(len(messages)):
        part = cut(messages[:end])
        assert part[:-1] == whole[: len(part[:-1])]


def test_keyed_names_are_stable_and_need_their_key():
    one, same, other = (KeyedNames(key * 32, "discord") for key in (b"k", b"k", b"l"))
    ids = [str(1 << n) for n in range(60)]
    names = [one.name(each) for each in ids]
    assert names == [same.name(each) for each in reversed(ids)][::-1]
    assert len(set(names)) == 60
    assert not set(names) & {other.name(each) for each in ids}
    assert not set(names) & {KeyedNames(b"k" * 32, "reddit").name(each) for each in ids}
    assert all(name.isalpha() and name.istitle() and len(name) == 10 for name in names)


def test_the_secret_makes_the_names_and_shows_nowhere(monkeypatch):
    settings = PseudonymSettings()
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "correct horse battery staple")
    first, identity = settings.names("discord").name("1"), settings.pseudonym_identity()
    assert (settings.names("discord").name("1"), settings.pseudonym_identity()) == (first, identity)
    assert "horse" not in f"{identity} {settings!r}"
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "incorrect horse battery staple")
    assert settings.names("discord").name("1") != first
    assert settings.pseudonym_identity() != identity
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "short")
    with pytest.raises(SourceError, match=r"has 5 characters") as caught:
        settings.pseudonym_identity()
    assert "short" not in str(caught.value)
    monkeypatch.delenv("TEXTMILL_PSEUDONYM_KEY")
    with pytest.raises(SourceError, match=r"TEXTMILL_PSEUDONYM_KEY is not set.*numbered"):
        settings.names("discord")


def test_numbered_names_start_afresh_in_each_conversation():
    messages = [
        Message("1", 0, "77", "a <@88>"),
        Message("2", 1, "99", "b"),
        Message("3", 100 * MINUTE, "99", "c"),
    ]
    assert [one.text for one in cut(messages, names=NumberedNames())] == [
        "Speaker 1: a @Speaker 2\nSpeaker 3: b",
        "Speaker 1: c",
    ]
    assert PseudonymSettings(pseudonyms="numbered").pseudonym_identity() == {"pseudonyms": "numbered"}
