"""Lines of many documents: compared with a slow version that reads all slots one document after the other."""

import json
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


@settings(deadline=None, max_examples=120)
@given(slots=SLOTS, config=st.sampled_from([LINE, PARAGRAPH]), ranges=st.integers(1, 9), data=st.data())
@example([["the moon is out,\nnight one.", "the moon is out,"] * 2], LINE, 1, None)
def test_what_stays_agrees_with_reading_all_documents(tmp_path_factory, slots, config, ranges, data):
    folders = write_slots(tmp_path_factory.mktemp("slots"), slots, config)
    wanted = data.draw(st.sets(st.integers(0, len(slots) - 1), min_size=1)) if data else {0}
    lists = frequent(folders, wanted, config, ranges)
    expected = obvious(slots, config)
    for slot in wanted:
        left, facts = split(folders[slot], config, lists[slot])
        mine = {f"{row}.txt": text for row, text in enumerate(expected[slot]) if text is not None or not slots[slot][row]}
        assert left == {name: text or "" for name, text in mine.items()}
        before = sum(map(len, slots[slot]))
        assert facts.counts["boilerplate_characters_removed"] == before - sum(map(len, left.values()))
        assert facts.counts["dropped_boilerplate"] == len(slots[slot]) - len(left)
        assert facts.counts["documents_out"] == len(left)
        rows = Counter(row for text in slots[slot] for row in text.split("\n") if row)
        rows.subtract(row for text in left.values() for row in text.split("\n") if row)
        assert facts.counts["boilerplate_lines_removed"] == rows.total()
