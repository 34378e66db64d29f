import hashlib
import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import TextmillError
from data.manifest import FORMAT, FileEntry, Identity, Manifest, canonical_json, differences, safe_name

IDENTITY = Identity("tokens", 3, {"kind": "bpe", "size": 512}, {"corpus": ["ab", "cd"]}, {"numpy": "2.0"})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "1", "ä", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "1"]), inner, max_size=3),
    max_leaves=6,
)


def same(one, other):
    """Equality that tells 1 from True, and lists apart by their order; the order of names in a mapping is nothing."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def manifest(**changes):
    values = {
        "name": "books-0001",
        "key": IDENTITY.key,
        "recipe": IDENTITY,
        "inputs": ["corpus/books-0123456789abcdef"],
        "payload_digest": "e" * 64,
        "files": {"train.npy": FileEntry(10, "a" * 64, "b" * 64)},
        "counts": {"tokens": 7, "share": 0.25},
        "licences": ["CC0"],
        "notes": ["käse"],
        "details": {"deep": [1, {"x": None}]},
        "created": "2020-01-02T03:04:05.000006+00:00",
        "textmill": "0.1.0",
    }
    return Manifest(**(values | changes))


def test_the_key_is_a_hash_of_the_recipe_in_its_one_spelling():
    spelling = (
        '{"config":{"kind":"bpe","size":512},"inputs":{"corpus":["ab","cd"]},'
        '"libraries":{"numpy":"2.0"},"stage":"tokens","version":3}'
    )
    assert IDENTITY.key == hashlib.sha256(spelling.encode()).hexdigest()[:16]


def test_every_part_of_the_recipe_changes_the_key():
    others = {
        "stage": "token",
        "version": 4,
        "config": {"kind": "bpe", "size": 513},
        "inputs": {"corpus": ["cd", "ab"]},
        "libraries": {"numpy": "2.1"},
    }
    assert set(others) == {field.name for field in fields(Identity)}
    keys = {replace(IDENTITY, **{part: value}).key for part, value in others.items()}
    assert len(keys | {IDENTITY.key}) == 6


@given(json_values, json_values)
def test_keys_are_equal_exactly_where_configs_are(one, other):
    keys = [Identity("s", 1, {"value": value}).key for value in (one, other)]
    assert (keys[0] == keys[1]) == same(one, other)


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=6), st.randoms())
def test_the_order_of_settings_is_nothing(config, random):
    names = list(config)
    random.shuffle(names)
    assert Identity("s", 1, {name: config[name] for name in names}).key == Identity("s", 1, config).key


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_make_no_key(number):
    with pytest.raises(ValueError):
        canonical_json({"x": number})


@given(st.text() | st.text(alphabet="./\\\0 ~-_a", max_size=300))
def test_a_safe_name_is_one_harmless_path_component(text):
    name = safe_name(text)
    assert 1 <= len(name) <= 60
    assert name.isascii()
    assert not set(name) & set("/\\\0 ~:*?\"<>|'`$\n")
    assert name[0] not in ".-"
    assert name[-1] not in ".-"
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("python-docs", "python-docs"),
        ("../../etc/passwd", "etc-passwd"),
        ("/", "unnamed"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("Käse & Brot", "Kase-Brot"),
        ("книга", "unnamed"),
        ("x" * 300, "x" * 60),
        (".hidden", "hidden"),
    ],
)
def test_safe_names_by_hand(text, name):
    assert safe_name(text) == name


def test_a_manifest_is_read_as_it_was_written():
    assert Manifest.from_json(manifest().to_json(), "here") == manifest()


def test_what_is_observed_is_no_part_of_the_reference():
    ref = manifest().ref
    observed = {"counts": {}, "licences": [], "notes": [], "details": {}, "created": "later", "textmill": "9"}
    assert manifest(**observed).ref == ref
    assert str(ref) == f"tokens/books-0001-{IDENTITY.key}"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "null",
        lambda text: text.replace('"tokens": 7', '"tokens": 8'),
        lambda text: text.replace('"size": 512', '"size": 513'),
        lambda text: text.replace('"bytes": 10', '"bytes": 11'),
        lambda text: text.replace('"created": ', '"creatd": '),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sha256"}),
        lambda text: json.dumps(json.loads(text) | {"sha256": None}),
    ],
)
def test_a_damaged_manifest_is_refused_with_its_place_and_a_remedy(damage):
    text = manifest().to_json()
    assert damage(text) != text
    with pytest.raises(TextmillError, match=r"here/manifest.json.*(damaged|format).*[Dd]elete that folder"):
        Manifest.from_json(damage(text), "here/manifest.json")


def test_a_manifest_of_another_format_is_refused_with_both_numbers():
    text = manifest(format=FORMAT + 1).to_json()
    with pytest.raises(TextmillError, match=f"format {FORMAT + 1}, this version reads {FORMAT}"):
        Manifest.from_json(text, "here")


def test_differences_name_every_path_that_differs():
    one = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "only": None, "left": 5}
    other = {"a": 1, "b": {"c": [1, 3, 4], "d": {"e": 1}}, "right": False}
    assert differences(one, other) == [
        ("b.c[1]", 2, 3),
        ("b.c[2]", None, 4),
        ("b.d", "x", {"e": 1}),
        ("left", 5, None),
        ("right", None, False),
    ]


@given(json_values)
def test_equal_values_have_no_differences(value):
    assert differences(value, json.loads(json.dumps(value))) == []
