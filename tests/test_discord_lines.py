"""Messages of Discord's API as lines: what any line is read as, and what is left of a file that was cut off."""

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.sources.chats.channels import Memo
from data.sources.chats.conversations import Quoted
from data.sources.chats.lines import last_whole_line, messages_in
from data.sources.chats.months import first_id, line_of, month, sent_at
from data.sources.chats.rest import message_id, pause, seconds
from data.web.errors import Answer
from tests.stand_in_discord import message

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("1175073134647181561"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["id", "type", "content", "author", "bot", "webhook_id", "message_reference", "message_id",
                         "referenced_message", "timestamp", "months", "last"]),
        inner,
        max_size=6,
    ),
    max_leaves=25,
)  # fmt: skip


@given(st.lists(VALUES, max_size=4), st.integers(1, 7))
def test_every_line_is_a_message_or_counted(values, size):
    data = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    dropped = Counter()
    found = list(messages_in([data[at : at + size] for at in range(0, len(data), size)], dropped))
    assert len(found) + dropped.total() == len(values)
    assert all(one.text.strip() and one.author is not None for one in found)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_as_something(data):
    list(messages_in([data], Counter()))


@given(VALUES)
def test_any_memo_is_taken_for_what_it_is_worth(value):
    last, months = Memo({"1": value}).get("1")
    assert isinstance(last, str) and all(len(one) == 2 for one in months.values())
    assert Memo(value).get("1") is not None


@given(VALUES, st.integers(100, 599))
def test_any_answer_is_understood_as_a_wait_or_none(value, status):
    assert 0 <= pause(Answer(status, {}, json.dumps(value).encode())) < 1e9
    assert 0 <= seconds(value) < 1e9


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 400))
def test_a_file_that_was_cut_anywhere_goes_on_behind_its_last_whole_line(tmp_path, cut):
    lines = [line_of(message(1_700_000_000_000 + number, "text ü 😀")) for number in range(3)]
    path = tmp_path / "lines"
    path.write_bytes(b"".join(lines)[: -1 - cut])
    whole = sum(len(b"".join(lines[: number + 1])) <= len(b"".join(lines)) - 1 - cut for number in range(3))
    expected = message_id(json.loads(lines[whole - 1])) if whole else 0
    assert last_whole_line(path) == expected
    assert path.read_bytes() == b"".join(lines[:whole])


def test_a_file_that_is_not_there_has_no_line(tmp_path):
    assert last_whole_line(tmp_path / "lines") == 0


def test_what_came_is_what_is_kept():
    odd = message(1_700_000_000_000, "half a \ud83d pair", nonce=123456789012345678901234567890, flags=0.1)
    assert json.loads(line_of(odd)) == odd
    assert line_of(message(1_700_000_000_000, "ü")).count("ü".encode()) == 1


def test_messages_and_what_they_answer():
    first = message(1_700_000_000_000, "one", "1" * 18)
    reply = message(1_700_000_001_000, "two", "2" * 18, type=19, message_reference={"message_id": first["id"]})
    reply["referenced_message"] = first
    again = [line_of(one) for one in (first, reply, reply)]
    dropped = Counter()
    found = list(messages_in(again, dropped))
    assert [(one.id, one.at, one.author, one.text) for one in found] == [
        (first["id"], 1_700_000_000_000, "1" * 18, "one"),
        (reply["id"], 1_700_000_001_000, "2" * 18, "two"),
    ]
    assert (found[1].reply_to, found[1].quoted) == (first["id"], Quoted("1" * 18, "one"))
    assert dropped == {"repeated": 1}


@pytest.mark.parametrize(
    ("when", "name"),
    [
        (1_704_067_200_000, "2024-01"),  # 2024-01-01T00:00:00Z
        (1_704_067_199_999, "2023-12"),
        (1_709_251_199_999, "2024-02"),  # the last moment of a leap day
        (1_420_070_400_000, "2015-01"),
    ],
)
def test_ids_tell_the_month(when, name):
    number = (when - 1_420_070_400_000) << 22
    assert (sent_at(number), month(number)) == (when, name)
    assert month(first_id(name)) == name
    assert first_id(name) <= number
    if name != "2015-01":
        assert month(first_id(name) - 1) < name
