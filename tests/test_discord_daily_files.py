"""A channel exported every day into a new file: what hundreds of files make, and what one more of them costs."""

import random
from datetime import datetime, timedelta

import pytest

from data.sources.chats import export_files as discord_files
from data.sources.chats import merge, merging
from tests.discord_exports import discord_runs, export, message, ms, sentences
from tests.source_runs import texts


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "a key for the tests")
    monkeypatch.setattr(discord_files, "_SETTLED_NS", -(10**12))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


@pytest.fixture
def opened(monkeypatch):
    """Names of the exports that are opened, and, under "", how many were open at once at most."""
    names, files = {"": 0}, []
    real = discord_files.Exports.open

    def open_one(self, name):
        files.append(real(self, name))
        names[name] = names.get(name, 0) + 1
        names[""] = max(names[""], sum(not file.closed for file in files))
        return files[-1]

    monkeypatch.setattr(discord_files.Exports, "open", open_one)
    return names


class Channel:
    """Two messages a day; what is edited or deleted is so in later exports only. An export has the last `days`."""

    def __init__(self, folder, days, seed=0, changes=0.3, step=1):
        self.folder, self.days, self.changes, self.step = folder, days, changes, step
        self.rng = random.Random(seed)
        self.at = datetime(2024, 1, 1, 12)
        self.there, self.best = [], {}

    def one_more_day(self):
        """Something is written, edited and deleted; then the channel is exported."""
        day = f"{self.at:%Y-%m-%d}"
        self.there += [message(f"{day}T{hour}:00", f"Words of {day}, {hour}.", str(hour)) for hour in (12, 18)]
        exported = f"{day}T23:00:00+00:00"
        begin = max(0, len(self.there) - 2 * self.days)
        if self.rng.random() < self.changes:
            place = self.rng.randrange(begin, len(self.there))
            edit = {"content": f"Edited on {day}.", "timestampEdited": exported}
            self.there[place] = self.there[place] | edit
        if self.rng.random() < self.changes:
            del self.there[self.rng.randrange(begin, len(self.there))]
        shown = self.there[begin:]
        (self.folder / f"{day}.json").write_bytes(export(shown[:: self.step], exported))
        for one in shown:
            version = (ms(one["timestampEdited"][:19]) if one["timestampEdited"] else 0, ms(f"{day}T23:00"))
            self.best[one["id"]] = max(self.best.get(one["id"], ((-1, -1), "")), (version, one["content"]))
        self.at += timedelta(days=1)

    def expected(self):
        return [self.best[number][1] for number in sorted(self.best, key=int)]


@pytest.mark.parametrize(("count", "step"), [(200, 1), (40, -1)], ids=["oldest first", "newest first"])
def test_hundreds_of_files_are_merged_few_at_a_time(folder, tmp_path, opened, monkeypatch, count, step):
    monkeypatch.setattr(merging, "_TOGETHER", 7)
    channel = Channel(folder, days=25, step=step)
    for _ in range(count):
        channel.one_more_day()
    runs = discord_runs(tmp_path)
    documents = runs.run()
    assert sentences(documents) == channel.expected()
    assert runs.why == {}
    assert opened[""] <= 16
    assert texts(runs.run()) == texts(documents)


def test_files_whose_messages_are_out_of_order_wait_in_few_temporary_files(folder, tmp_path, monkeypatch):
    waiting, make = [], merging.tempfile.TemporaryFile

    def temporary(**how):
        waiting.append(make(**how))
        assert sum(not file.closed for file in waiting) <= 3 * 4
        return waiting[-1]

    monkeypatch.setattr(merging.tempfile, "TemporaryFile", temporary)
    for module in (merge, merging):
        monkeypatch.setattr(module, "AT_ONCE", 4)
    channel = Channel(folder, days=25, step=-1)
    for _ in range(40):
        channel.one_more_day()
    assert sentences(discord_runs(tmp_path).run()) == channel.expected()
    assert len(waiting) > 40


@pytest.mark.parametrize("changes", [0.0, 0.3])
@pytest.mark.parametrize("days", [1, 40], ids=["of one day", "of everything so far"])
def test_one_more_file_does_not_read_the_others_again(folder, tmp_path, opened, days, changes):
    channel = Channel(folder, days, changes=changes)
    runs = discord_runs(tmp_path)
    for _ in range(35):
        channel.one_more_day()
    runs.run()
    costs = []
    for _ in range(5):
        channel.one_more_day()
        opened.clear()
        opened[""] = 0
        assert sentences(runs.run()) == channel.expected()
        costs.append(sum(opened.values()) - opened[""])
        assert texts(runs.run()) == texts(discord_runs(tmp_path).run())
    if days == 1:
        assert max(costs) <= channel.at.day, "the files of this month, the new one twice"
    else:
        assert sorted(costs)[2] <= 3, "the new one twice, and the one that stands for those before it"
