"""The command `corpus`: what a corpus holds and what was dropped on the way there, document by document."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from data.clusters import Links
from data.store import Store
from flows.recipe import Recipe, RecipeError, read_setting, unknown_name, with_overrides
from flows.recipes import load_recipe
from tasks.corpus_browse import DUPLICATE, Entry, all_entries, drop_again, dropped_entries, reasons, search
from tasks.corpus_facts import TextFlow, gather_corpus_facts
from tasks.corpus_parts import Corpus, find_corpus, read_matches
from tasks.report_page import byte_size, number, visible
from tasks.runtime import open_store

Show = Callable[[str, str, dict[str, Any]], bool]
"""Shows one thing: heading, text, the same as JSON; returns whether more is wanted."""


def corpus(
    ref: Annotated[
        str | None,
        typer.Argument(metavar="[REF]", help="A corpus, or documents or shards of a slot; else the newest corpus."),
    ] = None,
    browse: Annotated[
        bool, typer.Option("--browse", help="Page through the documents, kept and dropped, with the reason.")
    ] = False,
    dropped: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Only what was dropped for this reason: a rule's name, or duplicate."),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="With --dropped: not the recorded examples, but all, read again and judged again."),
    ] = False,
    text: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Documents that hold TEXT, in any case of letters.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="For --all: the recipe, if it has not the corpus's name.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=JSON", help="For --all: as in the run. Repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Show no more than N documents.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON per document, its text uncut.")] = False,
) -> None:
    """Show what a corpus holds: in sum, document by document (--browse, --dropped), or those with a text (--search)."""
    _refuse_confused(browse, dropped, every, text, limit)
    store = open_store()
    found = find_corpus(store, ref)
    show = _limited(_show_json if as_json else _pager(), limit)
    try:
        if text is not None:
            hits = search(store, found, read_matches(store, found.parts), text)
            _show_hits(hits, show)
        elif dropped is not None:
            _show_dropped(store, found, dropped, every, (recipe, settings or []), show)
        elif browse:
            _show_entries(all_entries(store, found, read_matches(store, found.parts)), show)
        else:
            _print_sums(store, found, as_json)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse_confused(browse: bool, dropped: str | None, every: bool, text: str | None, limit: int | None) -> None:
    if text is not None and (browse or dropped is not None):
        raise RecipeError("--search goes without --browse and --dropped: it looks at kept and dropped documents.")
    if text == "":
        raise RecipeError("--search wants a text that is not empty.")
    if every and dropped is None:
        raise RecipeError("--all goes with --dropped REASON: it reads again what was dropped for that reason.")
    if limit is not None and limit < 1:
        raise RecipeError(f"--limit is {limit}, but it must be at least 1.")


def _show_entries(entries: Iterable[Entry], show: Show) -> None:
    for entry in entries:
        if not _show_entry(entry, show):
            return


def _show_entry(entry: Entry, show: Show) -> bool:
    text = visible(entry.text)
    if not entry.whole:
        text += f"… (the beginning of {number(entry.characters)} characters; --dropped {entry.reason} --all shows more)"
    return show(_heading(entry), text, entry.to_json())


def _show_hits(hits: Iterable[tuple[Entry, str, int]], show: Show) -> None:
    for entry, passage, count in hits:
        heading = _heading(entry) + (f", {count} times" if count > 1 else "")
        record = {name: value for name, value in entry.to_json().items() if name != "text"}
        if not show(heading, visible(passage), record | {"hits": count, "passage": passage}):
            return


def _show_dropped(
    store: Store, corpus: Corpus, reason: str, every: bool, recipe: tuple[str | None, list[str]], show: Show
) -> None:
    known = reasons(store, corpus)
    if not known:
        print(f"Nothing was dropped from {corpus}.", file=sys.stderr)
        return
    if reason not in known:
        raise RecipeError(unknown_name("reason", reason, list(known)))
    if every and reason != DUPLICATE:
        _show_all(store, corpus, reason, recipe, show)
        return
    links: Links | None = read_matches(store, corpus.parts) if reason == DUPLICATE else None
    _show_entries(dropped_entries(store, corpus, links, reason), show)


def _show_all(store: Store, corpus: Corpus, reason: str, recipe: tuple[str | None, list[str]], show: Show) -> None:
    name, settings = recipe
    label = name or (corpus.index.name if corpus.index else corpus.parts[0].source)
    made: Recipe = with_overrides(load_recipe(label), dict(read_setting(one) for one in settings), "--set")
    sources = made.used_sources()
    for at in corpus.chosen:
        part = corpus.parts[at]
        if not part.documents.counts.get(f"dropped_{reason}"):
            continue
        if part.source not in sources:
            raise RecipeError(f"The recipe {label} has no source {part.source!r}: name another with --recipe.")
        if not drop_again(
            store, part, reason, sources[part.source], made.cleaning, lambda entry: _show_entry(entry, show)
        ):
            return


def _heading(entry: Entry) -> str:
    status = "kept"
    if entry.of:
        earlier, similarity = entry.of
        how = "equals" if similarity is None else f"{similarity:.3f} similar to"
        status = f"dropped, duplicate: {how} {visible(earlier, 200)}"
    elif entry.reason:
        status = f"dropped, {visible(entry.reason, 60)}"
    where = f" {visible(entry.url, 300)}" if entry.url else ""
    return f"{visible(entry.source, 60)}: {visible(entry.native_id, 200)}{where} [{entry.slot}] {status}"


def _show_json(heading: str, text: str, record: dict[str, Any]) -> bool:
    line = json.dumps(record, ensure_ascii=False)
    print(line.encode("utf-8", "backslashreplace").decode())  # lone surrogates of file names become JSON's escapes
    return True


def _show_plain(heading: str, text: str, record: dict[str, Any]) -> bool:
    print(f"--- {heading}\n{text}\n")
    return True


def _pager() -> Show:
    """One document after the other; at a terminal a key asks for the next."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _show_plain
    console = Console(highlight=False)

    def show(heading: str, text: str, record: dict[str, Any]) -> bool:
        console.print(Text(heading, style="red" if record["reason"] else "green"))
        console.print(Text(text))
        console.rule(Text("Enter: next, q: quit"))
        try:
            return input().strip().lower() not in ("q", "quit")
        except EOFError:
            return False

    return show


def _limited(show: Show, limit: int | None) -> Show:
    left = limit

    def limited(heading: str, text: str, record: dict[str, Any]) -> bool:
        nonlocal left
        more = show(heading, text, record)
        if left is not None:
            left -= 1
        return more and left != 0

    return limited


def _print_sums(store: Store, corpus: Corpus, as_json: bool) -> None:
    """What the corpus card says in short."""
    parts = [corpus.parts[at] for at in corpus.chosen]
    if corpus.index is None:
        counts = reasons(store, corpus)
        print(
            json.dumps({"corpus": None, "reasons": counts})
            if as_json
            else f"{corpus}, in no corpus\n  dropped {counts}"
        )
        return
    facts = gather_corpus_facts(store, corpus.index, parts, corpus.index.name)
    flows = [*facts.sources, *([facts.all] if len(facts.sources) > 1 else [])]
    if as_json:
        for flow in flows:
            print(json.dumps({"corpus": str(corpus), "source": flow.name, **_sums(flow)}, ensure_ascii=False))
        return
    print(corpus)
    for flow in flows:
        kept = f"{number(flow.documents_kept)} of {number(flow.documents_in)} documents kept"
        characters = f"{number(flow.characters_kept)} of {number(flow.characters_in)} characters"
        print(f"\n{visible(flow.name, 60)}: {kept}, {characters}, {byte_size(flow.bytes_kept)}")
        for step in islice(flow.steps, 50):
            print(f"  {visible(step.name, 60):<44} {step.documents:>12,} {step.characters:>16,}")
    for jump in facts.drift.jumps:
        print(f"\nSuddenly: {visible(jump, 300)}")
    print("\nRules with the documents and characters that they took; --dropped RULE shows some of those documents.")


def _sums(flow: TextFlow) -> dict[str, Any]:
    return {
        "documents_in": flow.documents_in,
        "documents_kept": flow.documents_kept,
        "characters_in": flow.characters_in,
        "characters_kept": flow.characters_kept,
        "bytes_kept": flow.bytes_kept,
        "licences": dict(flow.licences),
        "taken": {step.name: {"documents": step.documents, "characters": step.characters} for step in flow.steps},
    }
