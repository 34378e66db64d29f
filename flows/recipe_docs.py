"""docs/recipe.md, written from the models themselves: `python -m flows.recipe_docs` prints it.

Every field of `Recipe` enters the key of the stage that reads it, except those listed in `IN_NO_KEY`, by path or, where
only one kind of source has it out of its keys, by that.
"""

import json
from typing import Any

from flows.recipe import Recipe
from tasks.runtime import Runtime

IN_NO_KEY = {
    "name": "a label",
    "cleaning.profile": "the settings that it stands for do",
    "sources.NAME.name": "a label until the documents stage, which writes it into the column `source`",
    "sources.NAME.weight": "of the corpus; it acts when batches are drawn, so it enters the model's",
    "sources.NAME.enabled": "it acts on which sources are used",
    "sources.NAME.max_epochs": "it acts on the shares of the training batches, so it enters the model's",
    "sources.NAME.max_bytes": "it acts on which items are used; those enter the key of their slot",
    "sources.NAME.mirror": "it acts on which items are used; those enter the key of their slot",
    "sources.NAME.path": "where a folder lies is no part of what it holds",
    "sources.NAME.ids": "the books themselves do",
    "sources.NAME.urls": "the files themselves do, by address and mark",
    "sources.NAME.authorization_secret": "it acts on what may be fetched only",
    "sources.NAME.parallel": "it acts on speed only",
    "sources.NAME.mirror_url": "where a book is fetched from is no part of it",
    "sources.NAME.recheck_hours": "it acts on when is looked for changes",
    "sources.NAME.requests_per_second": "it acts on speed only",
    "sources.NAME.user_agent": "it acts on who asks only",
    "sources.NAME.token": "the name of a secret",
    "huggingface.endpoint": "where a dataset is served from is no part of what it holds",
    "huggingface.config": "it chooses files; those enter the key of their slot",
    "huggingface.revision": "it chooses files; those enter the key of their slot",
    "huggingface.split": "it chooses files; those enter the key of their slot",
    "huggingface.files": "they choose files; those enter the key of their slot",
    "huggingface.route": "it acts on how files are cut into items; those enter the key of their slot",
    "huggingface.max_documents": "it acts on which rows are used; those enter the key of their slot",
    "sources.NAME.titles": "they choose pages; those enter the key of their slot",
    "sources.NAME.titles_file": "its titles choose pages; those enter the key of their slot",
    "sources.NAME.categories": "they choose pages; those enter the key of their slot",
    "sources.NAME.depth": "it chooses pages; those enter the key of their slot",
    "sources.NAME.i_have_permission": "without it nothing is fetched at all",
    "sources.NAME.slot_bytes": "the slots themselves do",
    "sources.NAME.pseudonym_key": "where the secret is kept; a digest of the secret does",
    "decontamination.benchmarks": "where a file lies; the names and the texts of the fields do",
    "evaluation.benchmarks": "where a file lies and what it is called; the texts and labels of its items do",
    "plan": "of the model; it enters that of the plan, and the numbers that come of it the model's",
    "retrain": "it acts on when a model is trained again, on the numbers of its plan, and on which one is champion",
    "sampling": "of the model; it enters that of the samples",
}

_HEAD = """# The recipe, field by field

Written by `python -m flows.recipe_docs`; a test notices when it is out of date. A recipe is the parameter `recipe` of a
deployment in prefect.yaml. Set a field for one run with `textmill run NAME --set KEY=JSON`, or in Prefect's form with
`overrides`. Every field enters the key of the stage that reads it, so changing it builds that stage and whatever
depends on changed bytes, and nothing else; exceptions are marked in the last column. `by formula` means that the
number follows from the corpus (see `gpt/plan.py`, `data/tokenizers/config.py`), or from the dial `plan`
(`gpt/sizing.py`); `textmill plan NAME` shows what they come to.
"""


def recipe_page() -> str:
    """The whole page in Markdown."""
    lines = [_HEAD]
    schema = Recipe.model_json_schema()
    lines += _section("Top level", schema, schema, "", nested=False)
    for name, field in schema["properties"].items():
        for title, part in _parts(name, field, schema):
            lines += _section(title, part, schema, "sources.NAME" if name == "sources" else title)
    runtime = Runtime.model_json_schema()
    lines += ["## runtime", "", "Enters no key at all.", "", *_table(runtime, runtime, "runtime", None)]
    return "\n".join(lines).rstrip() + "\n"


def _parts(name: str, field: dict[str, Any], schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    if name == "sources":
        item = field["additionalProperties"]
        kinds = item.get("discriminator", {}).get("mapping") or {"": item.get("$ref", "")}
        resolved = [_resolve({"$ref": ref}, schema) for ref in kinds.values()]
        return [(f"sources.NAME of kind `{part['properties']['kind']['const']}`", part) for part in resolved]
    part = _resolve(field, schema)
    if "properties" not in part:
        return []
    inner = [_parts(f"{name}.{one}", its, schema) for one, its in part["properties"].items()]
    return [(name, part), *(one for group in inner for one in group)]


def _resolve(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    options = field.get("allOf", []) + [one for one in field.get("anyOf", []) if one.get("type") != "null"]
    ref = field.get("$ref") or (options[0].get("$ref") if len(options) == 1 else None)
    if not ref:
        return field
    part: dict[str, Any] = schema["$defs"][ref.rpartition("/")[2]]
    return part


def _section(title: str, part: dict[str, Any], schema: dict[str, Any], at: str, nested: bool = True) -> list[str]:
    about = part.get("description", "").split("\n\n")[0].replace("\n", " ")
    return [f"## {title}", "", *([about, ""] if nested and about else []), *_table(part, schema, at, IN_NO_KEY)]


def _table(part: dict[str, Any], schema: dict[str, Any], at: str, exceptions: dict[str, str] | None) -> list[str]:
    lines = ["| field | type | default | what | in a key |", "| --- | --- | --- | --- | --- |"]
    for name, field in part["properties"].items():
        path = f"{at}.{name}" if at else name
        about = " ".join((field.get("description") or "").split()).replace("|", "\\|")
        if exceptions is None:
            key = "no"
        else:
            kind = part["properties"].get("kind", {}).get("const")
            reason = exceptions.get(path) or exceptions.get(at) or exceptions.get(f"{kind}.{name}")
            key = f"no: {reason}" if reason else "yes"
        lines.append(f"| `{path}` | {_type(field, schema)} | {_default(name, field, part)} | {about} | {key} |")
    return [*lines, ""]


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    options = field.get("anyOf") or field.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(_type(one, schema) for one in options if one.get("type") != "null"))
    resolved = _resolve(field, schema)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in resolved:
        return ", ".join(f"`{one}`" for one in resolved["enum"])
    if "properties" in resolved:
        return "group"
    names = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true, false",
        "object": "mapping",
    }
    if resolved.get("type") == "array":
        return f"list of {_type(resolved['items'], schema)}"
    limits = [f"{sign} {resolved[word]:g}" for word, sign in _LIMITS if word in resolved]
    return names.get(resolved.get("type", ""), "any") + (f", {', '.join(limits)}" if limits else "")


_LIMITS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))


def _default(name: str, field: dict[str, Any], part: dict[str, Any]) -> str:
    if name in part.get("required", []):
        return "required"
    if "default" not in field:
        return "see below"
    if field["default"] is None and "formula" in field.get("description", ""):
        return "by formula"
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`"


if __name__ == "__main__":
    print(recipe_page(), end="")
