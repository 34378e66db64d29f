"""The documentation that every Python carries: pydoc's topics and the docstrings of the standard library.

One document per topic and one per module. The text depends on the Python that runs this and on nothing else, and no
network is needed. How a module's documentation becomes text is settled in data/sources/docstrings.py.
"""

import gc
import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from data.facts import Facts, Progress, no_progress
from data.sources.base import Item, Look, Note, Problem, RawDocument, SlotItem, SourceConfig, SourceError, no_note
from data.sources.docstrings import builtin_module_text, builtin_modules, module_files, module_text
from data.sources.identity import content_fingerprint
from data.sources.pack import ChangedSinceLookError, PackReader, PackWriter, read_items

_MEANING = 1  # of the texts; raised by hand when another text is made of the same Python


class PythonDocsConfig(SourceConfig):
    """Documentation and docstrings of the running Python: about 600 documents, 2 MB of English prose."""

    rights: ClassVar[str] = "the licence of Python (PSF-2.0) lets you pass it on"

    kind: Literal["python-docs"] = "python-docs"
    licence: str = Field("PSF-2.0", min_length=1, description="Licence of the text, as an SPDX identifier.")

    def location(self) -> str:
        return "the running Python"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def reading_identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "reader": 1}

    def look(self, root: Path, memo: Any = None) -> Look:
        """Every topic and module; with a memo of the same Python nothing is parsed."""
        stamp = _stamp()
        try:
            known = memo["items"] if memo["stamp"] == stamp else None
            found = [(str(name), str(fingerprint), int(size)) for name, fingerprint, size in known] if known else []
        except (KeyError, TypeError, ValueError):
            found = []
        problems: tuple[Problem, ...] = ()
        if not found:
            texts, problems = _texts(stamp)
            found = [(name, content_fingerprint([text]), len(text)) for name, text in sorted(texts.items())]
        if not found:
            raise SourceError(
                f"This Python ({sys.executable}) carries no documentation: neither pydoc_data nor the sources of its "
                "standard library are there. Install the full standard library, or use another source."
            )
        meta = {"python_version": platform.python_version()}
        items = tuple(Item(name, fingerprint, size, meta=meta) for name, fingerprint, size in found)
        return Look(items, problems, memo=None if problems else {"stamp": stamp, "items": found})

    def fetch(
        self,
        items: Sequence[SlotItem],
        root: Path,
        out: Path,
        work: Path,
        progress: Progress = no_progress,
        earlier: Sequence[Path] = (),
    ) -> Facts:
        """Write the texts as UTF-8."""
        texts, _ = _texts(_stamp())
        total = sum(item.size for item in items)
        with PackWriter(out, total, progress) as pack:
            for item in items:
                if item.native_id not in texts:
                    raise ChangedSinceLookError(f"{item.native_id} is not in this Python any more. Run again.")
                pack.add(item, [texts[item.native_id]])
        return Facts(counts={"items": pack.items, "bytes": pack.bytes}, licences=[self.licence])

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """One document per item."""
        with PackReader(raw) as reader:
            for item in read_items(raw):
                text = b"".join(reader.chunks(item)).decode()
                meta = {**item.meta, "look": item.look}
                yield RawDocument(item.native_id, text, meta=meta, position={"offset": item.offset})


def _stamp() -> str:
    """Changes whenever the texts may: with the Python, and with any file of its standard library."""
    files = []
    for name, path in module_files():
        status = path.stat()
        files.append([name, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return hashlib.sha256(json.dumps([_MEANING, sys.version, files]).encode()).hexdigest()


@lru_cache(maxsize=1)  # a run looks and then fetches; parsing takes a second, the texts 2 MB
def _texts(stamp: str) -> tuple[dict[str, bytes], tuple[Problem, ...]]:
    """{native id: text as UTF-8} of all topics and modules, and the modules that could not be parsed."""
    texts = {f"topics/{name}": text.strip("\n") for name, text in _topics().items()}
    problems = []
    with _without_garbage_collection():  # which would take a quarter of the time
        for name, path in module_files():
            try:
                text = module_text(name, path.read_bytes())
            except (OSError, SyntaxError, ValueError) as error:
                problems.append(Problem("unparsable", f"modules/{name}", f"{path}: {error}"))
                continue
            if text:
                texts[f"modules/{name}"] = text
    for name in builtin_modules():
        if text := builtin_module_text(name):
            texts[f"modules/{name}"] = text
    return {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}, tuple(problems)


def _topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return {}
    return dict(topics)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
