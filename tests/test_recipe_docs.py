"""docs/recipe.md tells the truth: which settings of a source enter keys is tried out, one by one."""

import re

import pytest

from data.sources.registry import source_kinds
from flows.recipe_docs import recipe_page

LEAST = {
    "folder": {"path": "a"},
    "gutenberg": {"ids": [1]},
    "huggingface": {"id": "a/b", "join_rows": 2},
    "discord": {"path": "a", "pseudonyms": "numbered"},
    "discord-api": {"pseudonyms": "numbered"},
    "reddit": {"path": "a", "pseudonyms": "numbered"},
    "url": {"urls": ["https://a"]},
}
OTHER = {
    "channels": ["800000000000000002"],
    "endpoint": "https://b",
    "fallback_encoding": "cp1252",
    "format": ".txt",
    "ids": [2],
    "maximum_characters": 2_000,
    "mirror_url": "https://b",
    "urls": ["https://b"],
    "user_agent": "DiscordBot (me@texts.org)",
}


def another_value(name, field, now):
    """A value for a field, by its JSON schema, that is not the one it has now."""
    field = next((one for one in field.get("anyOf", ()) if one["type"] != "null"), field)
    others = {"boolean": not now, "array": ["other"], "string": "b", "integer": 3, "number": 3.0}
    return OTHER.get(name) or next(one for one in field.get("enum", [others[field["type"]]]) if one != now)


@pytest.mark.parametrize("kind", source_kinds())
def test_the_docs_tell_which_settings_of_a_source_enter_keys(kind, monkeypatch):
    monkeypatch.setenv("TEXTMILL_PSEUDONYM_KEY", "sixteen characters at least")
    page = recipe_page().partition(f"of kind `{kind}`\n")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| `sources\.NAME\.(\w+)` .* \| (\w+)[^|]* \|$", page)
    config, least = source_kinds()[kind], LEAST.get(kind, {})
    before = config(**least)
    tried = {"kind": "yes", "licence": "yes"}  # the licence enters the key of the documents by itself
    for name, field in config.model_json_schema()["properties"].items():
        if name in tried:
            continue
        values = least | {name: another_value(name, field, least.get(name, field.get("default")))}
        after = config(**({"path": "b"} if (kind, name) == ("gutenberg", "path") else values))
        same = (after.identity(), after.reading_identity()) == (before.identity(), before.reading_identity())
        tried[name] = "no" if same else "yes"
    assert dict(rows) == tried
