"""The documentation of the running Python: against pydoc's own topics and against the docstrings of live modules."""

import builtins
import difflib
import heapq
import inspect
import json.decoder
import math
import os
import platform
import re
import subprocess
import sys
import textwrap
from pydoc_data.topics import topics

import pytest

from data.ledger import assign
from data.sources import docstrings, python_docs
from data.sources.base import SourceError
from data.sources.docstrings import module_text
from data.sources.pack import ChangedSinceLookError
from data.sources.python_docs import PythonDocsConfig

CONFIG = PythonDocsConfig()

LOOK_AND_PRINT = """
import json, sys
from pathlib import Path
from data.sources.python_docs import PythonDocsConfig
look = PythonDocsConfig().look(Path())
effects = {"antigravity", "this", "tkinter", "turtle", "idlelib", "lib2to3", "asyncio"}
items = [(item.native_id, item.fingerprint, item.size) for item in look.items]
print(json.dumps({"items": items, "imported": sorted(effects & sys.modules.keys())}))
"""


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    return CONFIG.look(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def documents(look, tmp_path_factory):
    out = tmp_path_factory.mktemp("slot")
    _, [slot], _ = assign(None, look, CONFIG.slot_bytes, "2024")
    facts = CONFIG.fetch(slot.items, out, out, out)
    assert facts.licences == ["PSF-2.0"]
    found = {document.native_id: document for document in CONFIG.read(out)}
    assert facts.counts["items"] == len(found) == len(look.items)
    return found


def test_there_are_some_600_documents_of_2_mb(look, documents):
    assert look.problems == ()
    assert [item.native_id for item in look.items] == sorted(documents)
    assert 550 <= len(documents) <= 750
    assert 1_800_000 <= sum(len(document.text.encode()) for document in documents.values()) <= 2_800_000
    assert sum(item.size for item in look.items) == sum(len(one.text.encode()) for one in documents.values())


def test_topics_are_those_of_pydoc(documents):
    found = {name.removeprefix("topics/"): one.text for name, one in documents.items() if name.startswith("topics/")}
    assert found == {name: text.strip("\n") for name, text in topics.items()}


@pytest.mark.parametrize("module", [difflib, heapq, json.decoder, textwrap])
def test_a_module_holds_the_docstrings_that_it_has_when_imported(documents, module):
    text = documents[f"modules/{module.__name__}"].text
    assert text.startswith(f"{module.__name__}\n\n{inspect.getdoc(module)}\n\n")
    checked = 0
    for name, member in vars(module).items():
        if getattr(member, "__module__", "") != module.__name__ or name.startswith("_"):
            continue
        if inspect.isclass(member) and issubclass(member, tuple):
            continue  # a named tuple: its docstring is made when it is imported
        owned = vars(member).items() if inspect.isclass(member) else ()
        for title, function in [(name, member), *((f"{name}.{inner}", function) for inner, function in owned)]:
            is_ours = inspect.isclass(function) or inspect.isfunction(function)
            if is_ours and function.__doc__ and not re.search(r"\b_[a-z]", title):
                assert re.search(rf"\n\n(class )?{re.escape(title)}(\(.*\))?\n\n", text), title
                assert inspect.cleandoc(function.__doc__) in text, title
                checked += 1
    assert checked >= 2


def test_built_in_modules_hold_the_docstrings_of_their_functions(documents):
    for module in (math, sys.modules["builtins"], sys.modules["itertools"]):
        text = documents[f"modules/{module.__name__}"].text
        for name, member in vars(module).items():
            is_own = inspect.isbuiltin(member) and member.__module__ == module.__name__
            if is_own and member.__doc__ and not name.startswith("_"):
                assert inspect.cleandoc(member.__doc__) in text, name


def test_what_the_program_put_into_built_in_modules_is_no_documentation(monkeypatch):
    before = docstrings.builtin_module_text("sys")

    def hook(*arguments):
        """A hook of some library."""

    monkeypatch.setattr(sys, "excepthook", hook)
    monkeypatch.setattr(sys, "of_some_library", math.sqrt, raising=False)
    assert docstrings.builtin_module_text("sys") == before


def test_a_print_that_is_logged_is_still_documented(monkeypatch):
    before = docstrings.builtin_module_text("builtins")
    assert "\n\nprint(" in before
    monkeypatch.setattr(builtins, "print", lambda *arguments: None)
    monkeypatch.setattr(builtins, "of_some_library", len, raising=False)
    assert docstrings.builtin_module_text("builtins") == before


def test_headings_and_order_of_a_module():
    source = b'''
"""What it is for."""

def later(a, /, b=1, *rest: int, key, **more) -> None:
    """Does it."""
    def inner():
        """Not shown."""

if True:
    class Mill:
        """Grinds."""

        def __init__(self, stone):
            """With a stone."""

        @classmethod
        async def grind(cls):
            """Now.

                indented
            Again.
            """

        def silent(self): ...

        def _private(self):
            """Not shown."""

        class Part:
            """Nested."""

class _Hidden:
    """Not shown."""
'''
    assert module_text("mill", source) == (
        "mill\n\nWhat it is for.\n\nlater(a, b, *rest, key, **more)\n\nDoes it.\n\nclass Mill\n\nGrinds.\n\n"
        "Mill.__init__(stone)\n\nWith a stone.\n\nMill.grind()\n\nNow.\n\n    indented\nAgain.\n\n"
        "class Mill.Part\n\nNested."
    )
    assert module_text("empty", b"x = 1") is None


def test_another_process_agrees_and_imports_nothing_with_effects(look):
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-OO", "-W", "error", "-c", LOOK_AND_PRINT]
    answer = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert answer["items"] == [[item.native_id, item.fingerprint, item.size] for item in look.items]
    assert answer["imported"] == []


def test_a_memo_gives_the_same_look_without_parsing(look, tmp_path, monkeypatch):
    monkeypatch.setattr(python_docs, "_texts", None)
    memo = json.loads(json.dumps(look.memo))
    again = CONFIG.look(tmp_path, memo)
    assert again.items == look.items
    assert json.loads(json.dumps(again.memo)) == memo


def test_a_memo_of_another_python_is_not_trusted(look, tmp_path):
    memo = {"stamp": "another", "items": [["topics/assert", "0" * 64, 1]]}
    assert CONFIG.look(tmp_path, memo).items == look.items


@pytest.mark.parametrize("memo", [1, [], {}, {"stamp": None}, {"stamp": "?", "items": 3}, {"items": [["a"]]}])
def test_a_foreign_memo_is_not_trusted(look, tmp_path, memo):
    if isinstance(memo, dict) and "items" in memo:
        memo = memo | {"stamp": look.memo["stamp"]}
    assert CONFIG.look(tmp_path, memo).items == look.items


def test_every_document_says_which_python_it_is_of(documents):
    assert {json.dumps(document.meta) for document in documents.values()} == {
        json.dumps({"python_version": platform.python_version(), "look": 1})
    }
    assert {document.licence for document in documents.values()} == {None}
    assert CONFIG.licence == "PSF-2.0"


def test_another_python_between_look_and_fetch_is_noticed(look, tmp_path, monkeypatch):
    _, [slot], _ = assign(None, look, CONFIG.slot_bytes, "2024")
    monkeypatch.setattr(python_docs, "_texts", lambda stamp: ({"topics/assert": b"another text"}, ()))
    for at in (0, [item.native_id for item in slot.items].index("topics/assert")):
        with pytest.raises(ChangedSinceLookError, match="Run again"):
            CONFIG.fetch(slot.items[at:], tmp_path, tmp_path, tmp_path)


def test_a_module_that_does_not_parse_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("def (:")
    (tmp_path / "sound.py").write_text('"""Sound."""')
    monkeypatch.setattr(python_docs, "module_files", lambda: [(n, tmp_path / f"{n}.py") for n in ("broken", "sound")])
    look = CONFIG.look(tmp_path)
    assert [(problem.what, problem.where) for problem in look.problems] == [("unparsable", "modules/broken")]
    assert "modules/sound" in {item.native_id for item in look.items}
    assert look.memo is None


def test_a_python_without_documentation_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(python_docs, "_texts", lambda stamp: ({}, ()))
    with pytest.raises(SourceError, match=re.escape(sys.executable)):
        CONFIG.look(tmp_path)
