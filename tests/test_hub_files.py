"""Which files are chosen: patterns, configs of a card, names of folders and files, and the hub's own Parquet copy."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sources.base import SourceError
from data.sources.hub.client import Hub
from data.sources.hub.files import Wanted, glob_regex, kind_of, matches, select
from tests.hub_toys import ID, quick_waits
from tests.stand_in_hub import stand_in_hub


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    return quick_waits(monkeypatch)


@pytest.fixture(scope="module")
def server():
    with stand_in_hub() as hub:
        yield hub


@pytest.fixture
def dataset(server):
    server.datasets.clear()
    server.forget()
    return server.dataset(ID)


def chosen(server, config=None, split="train", files=None, revision="main"):
    found = select(Hub(server.endpoint, ID), revision, Wanted(config, split, files))
    return [file.path for file in found.files], found


def push(dataset, *paths, branch="main", card=None):
    files = {path: path.encode() for path in paths}
    return dataset.push(files | ({"README.md": card.encode()} if card else {}), branch=branch)


FINEWEB = [
    *(f"data/CC-MAIN-2013-20/train-{n:05d}-of-00003.parquet" for n in range(3)),
    *(f"sample/10BT/{n:03d}_00000.parquet" for n in range(3)),
    *(f"sample/100BT/{n:03d}_00000.parquet" for n in range(2)),
]
FINEWEB_CARD = """---
license: odc-by
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*/*
- config_name: sample-10BT
  data_files:
  - split: train
    path: sample/10BT/*
- config_name: sample-100BT
  data_files: {train: [sample/100BT/000*, sample/100BT/001_*]}
---
# Text
"""
CONVERTED = ["plain_text/train/0000.parquet", "plain_text/train/0001.parquet", "plain_text/test/0000.parquet"]


def test_the_card_names_the_files_of_a_config(server, dataset):
    push(dataset, *FINEWEB, card=FINEWEB_CARD)
    assert chosen(server, "sample-10BT")[0] == FINEWEB[3:6]
    assert not server.count("/tree/[0-9a-f]+$"), "only the folder that is wanted is listed"
    assert chosen(server, "sample-100BT")[0] == sorted(FINEWEB[6:])
    assert chosen(server)[0] == FINEWEB[:3]
    with pytest.raises(SourceError, match=r"no config 'sample-1T'; it has default, sample-10BT, sample-100BT"):
        chosen(server, "sample-1T")
    with pytest.raises(SourceError, match=r"'default' of dataset people/texts has no split 'test'; it has train"):
        chosen(server, split="test")


def test_without_a_card_folders_are_configs(server, dataset):
    push(dataset, *FINEWEB)
    assert chosen(server, "sample-10BT")[0] == FINEWEB[3:6]


def test_files_may_be_named_by_patterns(server, dataset):
    push(dataset, *FINEWEB, card=FINEWEB_CARD)
    assert chosen(server, files=("sample/**/*_00000.parquet",))[0] == sorted(FINEWEB[3:])
    assert chosen(server, files=("sample/*.parquet", "data/CC-MAIN-2013-20/*-0000[12]-*"))[0] == FINEWEB[1:3]


@pytest.mark.parametrize(
    ("paths", "config", "split", "wanted"),
    [
        (
            ["20231101.en/train-00000-of-00041.parquet", "20231101.de/train-00000-of-00020.parquet"],
            "20231101.en",
            "train",
            [0],
        ),
        (["plain_text/train-00000-of-00080.parquet", "plain_text/train-00001-of-00080.parquet"], None, "train", [0, 1]),
        (["default/train/0000.parquet", "default/partial-train/0001.parquet"], None, "train", [1, 0]),
        (["a/train/0.parquet", "a/test/0.parquet", "a/validation/0.parquet"], "a", "validation", [2]),
        (["data/train-0.jsonl", "data/dev-0.jsonl", "data/test-0.jsonl"], None, "validation", [1]),
        (["one.csv", "two.csv"], None, "train", [0, 1]),
        (["one.csv", "two_test.csv"], None, "train", []),
        (["test-suite/train-0.parquet"], None, "test", []),
        (["test-suite/train-0.parquet"], None, "train", [0]),
        (["contest/trained.parquet", "latest.parquet"], None, "train", [0, 1]),
        (["train.parquet", "train.jsonl", ".cache/train.parquet"], None, "train", [0]),
        (["my split/extra-0.parquet", "train-0.parquet"], None, "extra", [0]),
        (["a/train-0.parquet", "b/train-0.parquet"], None, "train", [0, 1]),
        (["a/train/0.parquet", "b/train/0.parquet"], None, "train", []),
        (["en/c4-train.00000-of-01024.jsonl.gz", "en/c4-validation.00000.jsonl.gz"], "en", "train", [0]),
        (["dataset_infos.json", "train.json"], None, "train", []),
    ],
)
def test_names_of_files_and_folders(server, dataset, paths, config, split, wanted):
    push(dataset, *paths)
    if not wanted:
        with pytest.raises(SourceError, match="name the files"):
            chosen(server, config, split)
    else:
        assert chosen(server, config, split)[0] == [paths[n] for n in wanted]


@pytest.mark.parametrize("config", ["plain_text", None])
def test_where_main_holds_only_a_script_the_copy_is_taken(server, dataset, config):
    push(dataset, "texts.py", "dataset_infos.json", card="---\nlicense: unknown\n---\n")
    push(dataset, *CONVERTED, branch="refs/convert/parquet")
    paths, found = chosen(server, config)
    assert paths == CONVERTED[:2]
    assert found.commits == dataset.branches
    assert chosen(server, config, revision="refs/convert/parquet")[0] == CONVERTED[:2]


def test_where_there_is_no_copy_either_the_files_are_named(server, dataset):
    push(dataset, "texts.py", "texts.zip")
    with pytest.raises(SourceError, match=r"at main \([0-9a-f]{12}\)\. There are: texts\.py, texts\.zip"):
        chosen(server)


def test_other_kinds_beside_parquet_are_told(server, dataset):
    push(dataset, "x/a.parquet", "x/b.jsonl", "x/c.bin")
    paths, found = chosen(server, files=("x/*",))
    assert paths == ["x/a.parquet"]
    assert [str(one) for one in found.problems] == [
        f"{ID}: ignored: 2 files, there is Parquet: x/b.jsonl, x/c.bin",
    ]
    with pytest.raises(SourceError, match=r"There are: x/c\.bin"):
        chosen(server, files=("x/*.bin",))


@pytest.mark.parametrize(
    "card",
    [
        "no front matter",
        "---\nconfigs: [\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\nconfigs: [3, {config_name: x}]\n---\n",
        "---\n- a list\n---\n",
        "---\nlicense: cc0-1.0",
    ],
)
def test_a_card_that_says_nothing_of_files_is_passed_over(server, dataset, card):
    push(dataset, "train.parquet", card=card)
    assert chosen(server)[0] == ["train.parquet"]


def test_a_config_may_be_a_folder_and_splits_patterns_or_lists(server, dataset):
    card = """---
configs:
- {config_name: a, data_dir: first}
- {config_name: b, data_dir: second, data_files: "*.parquet"}
- {config_name: c, data_files: [{split: train, path: [first/1.parquet, ./second/2.parquet]}]}
---"""
    push(dataset, "first/1.parquet", "second/2.parquet", "second/deep/3.parquet", card=card)
    assert chosen(server, "a")[0] == ["first/1.parquet"]
    assert chosen(server, "b")[0] == ["second/2.parquet"]
    assert chosen(server, "c")[0] == ["first/1.parquet", "second/2.parquet"]
    with pytest.raises(SourceError, match="several configs: a, b, c"):
        chosen(server)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.parquet", ["a.parquet"], ["a/b.parquet", "a.parquet.gz"]),
        ("**/*.parquet", ["a.parquet", "a/b/c.parquet"], ["a.csv"]),
        ("a/**", ["a/b", "a/b/c"], ["b/a", "a"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[!a-c]x", ["dx"], ["ax", "/x"]),
        ("{train,test}-*.csv", ["train-1.csv", "test-.csv"], ["dev-1.csv"]),
        ("[", ["["], ["a"]),
        ("[z-a]", ["[z-a]"], ["b"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_patterns(pattern, yes, no):
    assert [path for path in yes + no if matches(path, [pattern])] == yes


@given(st.text(alphabet="ab*?[]{}!-,/.\\^|()\n", max_size=12), st.text(alphabet="ab/.", max_size=8))
def test_any_text_is_a_pattern(pattern, path):
    assert matches(path, [pattern]) in (True, False)


@given(st.text(alphabet="ab/.-", max_size=10))
def test_plain_names_stand_for_themselves_alone(path):
    name = path.removeprefix("./").removeprefix("/")
    assert re.fullmatch(glob_regex(name), name) or name.startswith(("/", "./"))


def test_kinds_by_name():
    assert kind_of("a/b.PARQUET") == ("parquet", None)
    assert kind_of("a.jsonl.zst") == ("jsonl", ".zst")
    assert kind_of("a.parquet.gz") is None
    assert kind_of("parquet") is None
