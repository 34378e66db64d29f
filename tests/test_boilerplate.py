"""Lines of many documents: compared with a slow version that reads all slots one document after the other."""

import random
import re
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.arrays import UnusableArrayError, hash_ranges
from data.boilerplate import join, lines, tables
from data.boilerplate.config import LinesConfig
from data.boilerplate.join import FrequentLines, LineIndex, merged
from data.boilerplate.lines import lines_of
from data.boilerplate.removal import LineRemoval
from data.boilerplate.tables import LineTable, LineWriter
from data.corpus import SplitConfig, split_slot
from data.shards import DOCUMENTS, ShardWriter, table_of

LINE = LinesConfig(max_occurrences=2, min_characters=4)
PARAGRAPH = LINE.model_copy(update={"unit": "paragraph"})
NO_SPLIT = SplitConfig(validation_share=0, min_passages=0)


def said(unit):
    """What counts of a line or paragraph, of ASCII or of the few other letters that are used here."""
    return re.sub("[0-9]", "0", re.sub("[^0-9a-zéÉ\u0301]", "", unit.lower().replace("É", "é")))


def guarded(text):
    """For every line whether it is code or part of a table."""
    found, fenced = [], False
    for line in text.split("\n"):
        fence = re.fullmatch(r" {0,3}(```[^`]*|~~~.*)", line)
        looks = line.startswith("|") or "\t" in line or "   " in line or line[-1:] in set("{};([=\\")
        found.append(bool(fence) or fenced or looks)
        fenced ^= bool(fence)
    return found


def blocks(text):
    """Numbers of lines side by side, without a blank one between."""
    found, rows = [], text.split("\n")
    for at, line in enumerate(rows):
        if line and at and rows[at - 1]:
            found[-1].append(at)
        elif line:
            found.append([at])
    return found


def units(text, config):
    """[(what it says, numbers of lines)] of what is counted."""
    rows, code = text.split("\n"), guarded(text)
    parts = blocks(text) if config.unit == "paragraph" else [[at] for block in blocks(text) for at in block]
    found = [(said("".join(rows[at] for at in part)), part) for part in parts if not any(code[at] for at in part)]
    return [one for one in found if sum(c != "0" for c in one[0]) >= config.min_characters]


def is_verse(rows):
    ends = sum(row[-1] in ".,;:!?—–-…'\"”’)»" for row in rows)
    return len(rows) > 1 and 2 * ends >= len(rows) and max(map(len, rows)) <= 80


def obvious(slots, config):
    """Every document of every slot without its boilerplate; None where nothing is left."""
    seen, results = Counter(), []
    for slot in slots:
        results.append([])
        for text in slot:
            mine = units(text, config)
            rows = text.split("\n")
            gone = {at for key, part in mine if seen[key] >= config.max_occurrences for at in part}
            seen.update({key for key, _ in mine})
            if config.unit == "line":
                for block in blocks(text):
                    if is_verse([rows[at] for at in block]) and not gone >= set(block):
                        gone -= set(block)
            results[-1].append(without(rows, gone))
    return results


def without(rows, gone):
    """The lines joined without those that go; around them, blank lines stay as the first run of them in a gap."""
    left, gap, begun = [], "", False
    for at, row in enumerate([*rows, None]):
        if row == "" or at in gone:
            gap += "x" if at in gone else "b"
            continue
        first_run = next((len(run) for run in gap.split("x") if run), 0)
        inner = begun and row is not None
        left += [""] * (len(gap) if "x" not in gap else first_run if inner else 0)
        left += [] if row is None else [row]
        gap, begun = "", True
    return "\n".join(left) if any(left) else None


def write_documents(folder, texts):
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.txt" for number in range(len(texts))]
    same = {"authors": [], "source": "mine", "url": None, "created": None, "licence": "", "meta": '{"look": 0}'}
    columns = {"native_id": names, "text": texts, **{name: [value] * len(texts) for name, value in same.items()}}
    with ShardWriter(folder / "documents.parquet", DOCUMENTS, 60) as writer:  # several row groups
        writer.write(table_of(DOCUMENTS, columns))


def write_slots(folder, slots, config, batch=3):
    """A folder with documents and table of lines for each slot, which is a list of texts."""
    folders = []
    for number, texts in enumerate(slots):
        folders.append(folder / str(number))
        write_documents(folders[-1], texts)
        writer = LineWriter(config)
        for start in range(0, len(texts), batch):
            writer.add(texts[start : start + batch])
        writer.write(folders[-1])
    return folders


def frequent(folders, wanted, config, ranges=1):
    index = LineIndex(folders, wanted, config.max_occurrences)
    return merged([index.join(range_) for range_ in hash_ranges(ranges)])


def split(folder, config, its_lines, drops=()):
    """{native id: text} of the corpus, and facts."""
    np.save(folder / "drops.npy", np.array(drops, np.int64))
    removal = LineRemoval(config, its_lines)
    facts = split_slot(folder, folder / "drops.npy", folder, NO_SPLIT, 0, 10**9, removal=removal)
    path = folder / "train.parquet"
    rows = pq.read_table(path).to_pylist() if path.exists() else []
    path.unlink(missing_ok=True)
    return {row["native_id"]: row["text"] for row in rows}, facts


LINES = [
    "All rights reserved.", "all RIGHTS reserved!", "Page 1 of 22", "PAGE 7 of 90", "Éa é1 é\u0301", "one of a kind",
    "Menu", "---", "12.50", "1234567", "|a row of a table|", "if (it is code) {", "    indented by four", "a\ttab here",
    "```", "~~~", "the moon is out,", "the moon is out,", "", "", "", "long enough to be no verse, " * 4,
]  # fmt: skip
TEXT = st.lists(st.sampled_from(LINES), max_size=9).map(lambda rows: "\n".join(rows).strip("\n"))
SLOTS = st.lists(st.lists(TEXT, max_size=7), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(slots=SLOTS, config=st.sampled_from([LINE, PARAGRAPH]), ranges=st.integers(1, 9), data=st.data())
@example([["the moon is out,\nnight one.", "the moon is out,"] * 2], LINE, 1, None)
def test_what_stays_agrees_with_reading_all_documents(tmp_path_factory, slots, config, ranges, data):
    folders = write_slots(tmp_path_factory.mktemp("slots"), slots, config)
    wanted = data.draw(st.sets(st.integers(0, len(slots) - 1), min_size=1)) if data else {0}
    lists = frequent(folders, wanted, config, ranges)
    expected = obvious(slots, config)
    for slot in wanted:
        left, facts = split(folders[slot], config, lists[slot])
        mine = {
            f"{row}.txt": text for row, text in enumerate(expected[slot]) if text is not None or not slots[slot][row]
        }
        assert left == {name: text or "" for name, text in mine.items()}
        before = sum(map(len, slots[slot]))
        assert facts.counts["boilerplate_characters_removed"] == before - sum(map(len, left.values()))
        assert facts.counts["dropped_boilerplate"] == len(slots[slot]) - len(left)
        assert facts.counts["documents_out"] == len(left)
        rows = Counter(row for text in slots[slot] for row in text.split("\n") if row)
        rows.subtract(row for text in left.values() for row in text.split("\n") if row)
        assert facts.counts["boilerplate_lines_removed"] == rows.total()


ANY = LinesConfig(min_characters=1)


def keys(texts, config=ANY):
    found = lines_of(texts, config)
    return [int(key) if count else None for key, count in zip(found.hashes, found.countable, strict=True)]


def test_lines_are_equal_where_letters_and_lengths_of_numbers_are():
    same = ["Seite 12 von 30", "SEITE 99 VON 10!", "  seite 12... von 30", "Seite１２von٣٤", "»Seite« 12 \u2013 von 30"]
    other = ["Seite 1 von 30", "Seite 12 von", "Seiten 12 von 30", "von 12 Seite 30", "Séite 12 von 30"]
    found = keys(same + other)
    assert len(set(found[:5])) == 1 and len(set(found)) == 6 and None not in found
    assert keys(["ДА", "да", "字字", "İ"])[:2] == [keys(["Да"])[0]] * 2
    assert (
        keys(["", "...", "12 12", "🙂", "|a", "a\tb", "a   b", "a {", "~~~", "a", "a"]) == [None] * 9 + keys(["a"]) * 2
    )


def test_letters_make_a_line_long_enough_and_digits_do_not():
    config = LinesConfig(min_characters=5)
    assert [key is None for key in keys(["abcd 12345", "abcde", "a b-c d e", "-----", "字字字字字"], config)] == [
        True, False, False, True, False,
    ]  # fmt: skip


def test_a_paragraph_is_the_same_wherever_its_lines_are_broken():
    config = PARAGRAPH
    whole, broken, other = keys(["one two three", "one\ntwo th\nree", "one\n\ntwo three"], config)[:3]
    assert whole == broken != other


def test_long_texts_are_looked_at_in_pieces(monkeypatch):
    rng = random.Random(1)
    texts = [
        "\n".join("x" * rng.randrange(60) + rng.choice(LINES) for _ in range(rng.randrange(40))) for _ in range(30)
    ]
    for config in (LINE, PARAGRAPH):
        whole = lines_of(texts, config)
        monkeypatch.setattr(lines, "_CHARACTERS_AT_ONCE", 50)
        for ours, theirs in zip(whole, lines_of(texts, config), strict=True):
            assert ours.tolist() == theirs.tolist()
        monkeypatch.undo()


def test_no_hash_of_many_lines_comes_twice():
    texts = ["\n".join(f"{'ab' * (number % 7)}{chr(97 + number % 26)}{number // 26:b}" for number in range(20_000))]
    said_once = [text.translate(str.maketrans("01", "xy")) for text in texts]  # digits would all be one
    found = keys(said_once)
    assert len(set(found)) == len(set(said_once[0].split("\n")))


def test_a_stanza_keeps_its_refrain_and_a_notice_goes(tmp_path):
    stanza = "So, we'll go no more a roving\nSo late into the night,\nThough the heart be still as loving,"
    refrain = "So late into the night,"
    notice = "We use cookies to make this site better for you.\nBy staying you agree with what we do."
    texts = [f"{refrain}\n{notice}"] * 3 + [f"Title of the page\n\n{stanza}\n\n{notice}\n\nThe end of it"]
    left, _ = removed_from(tmp_path, texts)
    assert left["3.txt"] == f"Title of the page\n\n{stanza}\n\nThe end of it"
    wanted = [f"{refrain}\n{notice}"] * 2 + [None, left["3.txt"]]
    assert obvious([texts], LINE) == [wanted]


def removed_from(tmp_path, texts, config=LINE, drops=()):
    (folder,) = write_slots(tmp_path, [texts], config)
    return split(folder, config, frequent([folder], {0}, config)[0], drops)


def test_what_went_is_counted_and_shown(tmp_path):
    notice, other = "Légal notice", "Share this page"
    texts = [f"{notice}\n{other}\nthis is page {'abcdef'[n]}\n{notice}" for n in range(4)] + [notice, f"{other}\n\nend"]
    left, facts = removed_from(tmp_path, texts)
    assert left == {
        "0.txt": texts[0], "1.txt": texts[1], "2.txt": "this is page c", "3.txt": "this is page d", "5.txt": "end",
    }  # fmt: skip
    counts = facts.counts
    assert counts["boilerplate_lines_removed"] == 2 * 3 + 1 + 1
    assert counts["boilerplate_characters_removed"] == 2 * (2 * 13 + 16) + 12 + 17
    assert (counts["dropped_boilerplate"], counts["documents_out"], counts["train_documents"]) == (1, 5, 5)
    assert facts.details["boilerplate_examples"] == [
        {"text": notice, "documents": 3}, {"text": other, "documents": 3},
    ]  # fmt: skip


def test_copies_that_are_dropped_count_but_lose_nothing(tmp_path):
    left, facts = removed_from(tmp_path, ["some notice"] * 3 + ["some notice\nand text"], drops=[1, 2])
    assert left == {"0.txt": "some notice", "3.txt": "and text"}
    assert facts.counts["boilerplate_lines_removed"] == 1
    assert facts.counts["documents_out"] == 2
    left, facts = removed_from(tmp_path / "without drops", ["a notice"] * 6)
    assert left == {"0.txt": "a notice", "1.txt": "a notice"}
    assert facts.details["boilerplate_examples"] == [{"text": "a notice", "documents": 4}]


def test_text_is_cut_into_passages_after_lines_are_taken_out(tmp_path):
    notice = "here is a notice that comes again"
    texts = ["\n".join([notice] + [f"line {'abcdefghij'[n]} of text {'xyz'[d]}" for n in range(10)]) for d in range(3)]
    (folder,) = write_slots(tmp_path, [texts], LINE)
    np.save(folder / "drops.npy", np.array([0, 1], np.int64))
    config = SplitConfig(validation_share=0, min_passages=0, max_whole_bytes=150, passage_bytes=64)
    removal = LineRemoval(LINE, frequent([folder], {0}, LINE)[0])
    facts = split_slot(folder, folder / "drops.npy", folder, config, 0, 0, removal=removal)
    (row,) = pq.read_table(folder / "train.parquet").to_pylist()
    assert row["text"] == texts[2][len(notice) + 1 :]
    assert facts.counts["train_bytes"] == len(row["text"]) and row["passages"] == 3


def test_nothing_frequent_leaves_the_shards_as_they_are(tmp_path):
    texts = [f"text {'abc'[n]}\n\nof its own" for n in range(3)]
    (folder,) = write_slots(tmp_path, [texts], LinesConfig())
    left, facts = split(folder, LinesConfig(), frequent([folder], {0}, LinesConfig())[0])
    assert list(left.values()) == texts
    assert facts.counts["boilerplate_characters_removed"] == 0 and facts.details["boilerplate_examples"] == []
    write_documents(tmp_path / "none", [])
    assert split(tmp_path / "none", LINE, FrequentLines(np.zeros(1, np.uint64), np.zeros(1, np.uint32)))[0] == {}


def test_lists_follow_from_earlier_slots_alone(tmp_path, monkeypatch):
    rng = random.Random(2)
    slots = [["\n".join(rng.choices(LINES, k=6)).strip("\n") for _ in range(8)] for _ in range(6)]
    folders = write_slots(tmp_path, slots, LINE)
    expected = {slot: [part.tolist() for part in one] for slot, one in frequent(folders, range(6), LINE).items()}
    seen = Counter()
    for slot, texts in enumerate(slots):
        before = Counter(seen)
        for text in texts:
            seen.update({key for key in keys([text], LINE) if key is not None})
        over = {key: max(0, 2 - before[key]) for key in seen if seen[key] > 2 and seen[key] > before[key]}
        assert expected[slot] == [sorted(over), [over[key] for key in sorted(over)]]
    for wanted in ({0, 1, 2}, {2}, {1, 4}, {5}):
        found = frequent(folders[: max(wanted) + 1], wanted, LINE, ranges=3)
        assert {slot: [part.tolist() for part in one] for slot, one in found.items()} == {
            slot: expected[slot] for slot in wanted
        }
    assert len(LineIndex(folders, {1}, 2).ranges()) == 1
    monkeypatch.setattr(join, "_ENTRIES_AT_ONCE", 3)
    assert len(LineIndex(folders, {1}, 2).ranges()) > 3


def test_a_table_counts_documents_and_damage_is_named(tmp_path):
    (folder,) = write_slots(tmp_path, [["some text\nsome text", "some text\nother", "..."]], LINE, batch=1)
    table = LineTable(folder)
    expected = dict(zip(keys(["some text", "other"], LINE), [2, 1], strict=True))
    assert dict(zip(table.hashes.tolist(), table.counts.tolist(), strict=True)) == expected
    assert table.hashes.tolist() == sorted(expected)
    np.save(folder / tables.COUNTS_FILE, np.zeros(3, np.uint32))
    with pytest.raises(UnusableArrayError, match=r"2 hashes of lines and 3 counts.*rebuilt"):
        LineTable(folder)
    FrequentLines(np.zeros(2, np.uint64), np.zeros(2, np.uint32)).write(folder)
    assert FrequentLines.read(folder).left.tolist() == [0, 0]
    np.save(folder / join.LEFT_FILE, np.zeros(3, np.uint32))
    with pytest.raises(UnusableArrayError, match=r"2 hashes of frequent lines and 3"):
        FrequentLines.read(folder)
