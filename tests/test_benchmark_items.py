"""Items of benchmarks from JSON lines: official HellaSwag, other fields, and lines that are no items."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from data.benchmarks.config import BenchmarkItemsConfig
from data.benchmarks.items import Item, read_items
from data.overlap.fields import UnusableBenchmarkError

HELLASWAG = Path(__file__).parents[2] / "shared" / "data" / "hellaswag" / "hellaswag_val_sample.jsonl"
WIKIHOW = {
    "activity_label": "Baking",
    "ctx_a": "[header] How to bake [title] Buy flour. [step] Go out.",
    "ctx_b": "bring A bag",
    "ctx": "[header] How to bake [title] Buy flour. [step] Go out. bring A bag",
    "endings": ["Sit. [substeps] Wait  long.", ", and eat.", "x", "y [title] Z"],
    "label": "1",
}


def lines(path, *items):
    path.write_bytes(b"".join(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in items))
    return path


def config(**given):
    return BenchmarkItemsConfig.model_validate(given)


def test_hellaswag_is_put_together_and_cleaned_as_the_harness_does(tmp_path):
    """By hand, after lm_eval/tasks/hellaswag/utils.py."""
    path = lines(tmp_path / "items.jsonl", WIKIHOW)
    (item,) = read_items(path, "h", config(form="hellaswag")).items
    assert item == Item(
        "Baking: How to bake. Buy flour. Go out. Bring a bag", ("Sit. Wait long.", ", and eat.", "x", "y. Z"), 1
    )
    (plain,) = read_items(path, "h", config()).items
    assert plain == Item(WIKIHOW["ctx"], tuple(WIKIHOW["endings"]), 1)


def test_other_fields_lists_in_objects_and_labels_as_they_come(tmp_path):
    arc = {"question": {"stem": "Why?", "choices": [{"text": "a", "label": "A"}, {"text": "b"}]}, "answer": "B"}
    fields = {"context": ["question.stem"], "endings": ["question.choices.text"], "label": "answer"}
    assert read_items(lines(tmp_path / "arc", arc), "arc", config(**fields)).items == (Item("Why?", ("a", "b"), 1),)
    two = {"a": "He ", "b": " ran", "one": "up", "two": "down", "right": {"is": "2"}}
    fields = {"context": ["a", "b"], "endings": ["one", "two"], "label": "right.is", "first_label": 1}
    assert read_items(lines(tmp_path / "two", two), "two", config(**fields)).items == (
        Item("He   ran", ("up", "down"), 1),
    )


BROKEN = {
    "Expecting property name": b"{not JSON}\n",
    "a list where one JSON object belongs": b"[1]\n",
    "no UTF-8 at byte": b'{"ctx": "\xff"}\n',
    "there is no field 'ctx'": {"endings": ["a", "b"], "label": 0},
    "no field 'label'": {"ctx": "c", "endings": ["a", "b"]},
    "label is '', which is none of its endings 0 to 1": {"ctx": "c", "endings": ["a", "b"], "label": ""},
    "label is '2'": {"ctx": "c", "endings": ["a", "b"], "label": 2},
    "label is 'True'": {"ctx": "c", "endings": ["a", "b"], "label": True},
    "label is '-1'": {"ctx": "c", "endings": ["a", "b"], "label": -1},
    "it has 1 endings": {"ctx": "c", "endings": ["a"], "label": 0},
    "its ending 1 is empty": {"ctx": "c", "endings": ["a", " "], "label": 0},
    "which is no text": {"ctx": "c", "endings": ["a", 4], "label": 0},
    "'endings' holds null, which": {"ctx": "c", "endings": ["a", None, "b"], "label": 1},
    "'ctx' holds null": {"ctx": None, "endings": ["a", "b"], "label": 1},
    "lone surrogate": b'{"ctx": "\\ud800", "endings": ["a", "b"], "label": 0}\n',
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_line_that_is_no_item_is_counted_and_named(tmp_path, reason):
    good = {"ctx": "c", "endings": ["a", "b"], "label": 1}
    found = read_items(lines(tmp_path / "items", good, b"\n", BROKEN[reason], good), "toy", config())
    assert len(found.items) == 2 and len(found.left_out) == 1
    note = found.note()
    assert note.startswith("1 line was left out as no usable item: line 3: ") and reason in note, note


def test_of_many_such_lines_a_note_names_some(tmp_path):
    found = read_items(
        lines(tmp_path / "items", {"ctx": "c", "endings": ["a", "b"], "label": 1}, *[b"?\n"] * 9), "t", config()
    )
    assert found.note().startswith("9 lines were") and found.note().endswith(
        "line 6: Expecting value: line 1 column 1 (char 0).; and 4 more."
    )
    assert read_items(lines(tmp_path / "more", WIKIHOW), "t", config()).note() is None


def test_a_file_without_items_is_refused_with_the_setting(tmp_path):
    with pytest.raises(
        UnusableBenchmarkError, match=r"'toy' cannot be read from .*gone: No such file.*evaluation.benchmarks.toy.path"
    ):
        read_items(tmp_path / "gone", "toy", config())
    with pytest.raises(UnusableBenchmarkError, match=r"no usable item in .*: it is empty"):
        read_items(lines(tmp_path / "empty"), "toy", config())
    unlabelled = WIKIHOW | {"label": ""}
    with pytest.raises(
        UnusableBenchmarkError, match=r"all 3 lines were left out, the first because: line 1: label is ''"
    ):
        read_items(lines(tmp_path / "test", *[unlabelled] * 3), "toy", config())


def test_fewer_items_are_spread_and_the_digest_is_of_what_is_asked(tmp_path):
    items = [{"ctx": f"c{number}", "endings": ["a", "b"], "label": number % 2} for number in range(10)]
    path = lines(tmp_path / "items", *items)
    whole, some = read_items(path, "a", config()), read_items(path, "a", config(max_items=4))
    assert [one.context for one in some.items] == ["c0", "c2", "c5", "c7"]
    assert read_items(path, "b", config(max_items=99)).digest() == whole.digest() != some.digest()
    changed = lines(tmp_path / "changed", *(one | {"label": 0} for one in items))
    assert read_items(changed, "a", config()).digest() != whole.digest(), "labels enter"


@pytest.mark.skipif(not HELLASWAG.is_file(), reason="the sample folder is not there")
def test_real_items_keep_no_mark_of_wikihow():
    found = read_items(HELLASWAG, "hellaswag", config(form="hellaswag"))
    assert len(found.items) == 600 and not found.left_out
    texts = [text for item in found.items for text in (item.context, *item.endings)]
    assert not any("[" in text or "]" in text for text in texts) and all(len(item.endings) == 4 for item in found.items)
    raw = HELLASWAG.read_text(encoding="utf-8")
    assert raw.count("[title]") > 100, "there were some"
    labels = [json.loads(line)["label"] for line in raw.splitlines()]
    assert [item.label for item in found.items] == labels


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"path": "a", "url": "https://b/c", "sha256": "0" * 64}, "path and url are both set"),
        ({"url": "https://b/c"}, "url needs sha256"),
        ({"url": "s3://b/c", "sha256": "0" * 64}, "http:// or https://"),
        ({"url": "https://b/c", "sha256": "0"}, "64 hexadecimal digits"),
        ({"path": "a", "sha256": "0" * 64}, "belongs to a url"),
        ({"path": "a", "form": "hellaswag", "context": ["ctx_a"]}, "own fields of the context"),
        ({"path": "a", "fields": ["ctx"]}, "Extra inputs"),
    ],
)
def test_settings_that_contradict_are_refused(given, complaint):
    with pytest.raises(ValidationError, match=complaint):
        config(**given)
