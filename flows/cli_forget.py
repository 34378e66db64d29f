"""`textmill forget`: take documents, authors or whole sources out of the store, and keep them out."""

import re
import sys
from collections import Counter
from typing import Annotated

import typer

from data.errors import TextmillError
from data.forgetting.holdings import Holdings
from data.forgetting.people import spellings
from data.forgetting.plan import Plan, plan
from data.forgetting.purging import Purged, carry_out
from data.forgetting.sifting import may_sift
from data.forgetting.tombstones import author_hash
from data.forgetting.wanted import Wanted
from flows.cli_options import DryRun
from flows.recipe import RecipeError
from tasks.registry import STAGES
from tasks.runtime import open_store
from tasks.secrets import ask_prefect_too

_MAX_NAMED = 10


def forget(
    document: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Native id of a document, or of an item (a file). Repeatable."),
    ] = None,
    author: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="An author as the corpus has it, or a chat's own id or name for somebody."),
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="What was found at this address.")] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="All of this source; with one of the others: only there.")
    ] = None,
    drop_items: Annotated[
        bool, typer.Option("--drop-items", help="Also whole files that hold other documents besides.")
    ] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask at a terminal.")] = False,
    pseudonym_key: Annotated[
        str, typer.Option(metavar="SECRET", help="Environment variable with the secret of made names.")
    ] = "TEXTMILL_PSEUDONYM_KEY",
) -> None:
    """Forget text: remove it and its copies from the store, keep it out, and mark what learnt from it."""
    if not (document or author or url or source):
        raise RecipeError("Say what to forget: --document, --author, --url or --source.")
    if author is not None and re.fullmatch(r"Speaker [0-9]+", author):
        raise RecipeError(f"{author!r} is another person in each document: name the documents, --document ID.")
    if any(one is not None and not one.strip() for one in (*(document or ()), author, url, source)):
        raise RecipeError("--document, --author, --url and --source each need something in them.")
    store = open_store()
    holdings = Holdings(store)
    ask_prefect_too()
    names = spellings(holdings, author.strip(), pseudonym_key) if author else frozenset()
    wanted = Wanted(frozenset(document or ()), names, url, source, author.strip() if author else None)
    planned = plan(holdings, wanted, drop_items, pseudonym_key)
    _print_plan(planned, dry_run)
    if not dry_run and not yes and sys.stdin.isatty() and not typer.confirm("This cannot be undone. Forget it?"):
        raise TextmillError("nothing was forgotten")
    if not dry_run:
        _print_done(carry_out(store, planned, [author_hash(name) for name in names], pseudonym_key), planned)


def _print_plan(planned: Plan, dry_run: bool) -> None:
    print("Would be forgotten:" if dry_run else "To be forgotten:")
    for owner, gone in sorted(planned.by_source.items()):
        known = planned.holdings.sources.get(owner)
        documents, items = len(gone.documents), len(gone.items)
        if not (documents or items or gone.kept_in or gone.whole):
            continue  # something of the author may only come in later
        whole = ", the whole source" if gone.whole else ""
        print(f"  {known or owner.removeprefix('name:')}: {documents:,} documents, {items:,} raw items{whole}")
        if known is None:
            print("    no run noted where it comes from: another run of its recipe brings it back")
        kind = known.kind if known else ""
        for item, ids in sorted(gone.kept_in.items())[:_MAX_NAMED]:
            way = "lose the bytes of" if may_sift(kind, item) else "still hold text of"
            print(f"    raw items that {way} {len(ids):,} of them, beside others: {item}")
        if (rest := len(gone.kept_in) - _MAX_NAMED) > 0:
            print(f"    and {rest:,} more such items")
    print(
        f"  {planned.rows:,} documents in the store, older versions and {planned.duplicates:,} found as copies included"
    )
    if any(gone.kept_in for gone in planned.by_source.values()):
        print("  --drop-items removes raw items that hold other documents, too, as a whole.")
    if dry_run:
        for title, manifests in (("to be removed", planned.removed), ("to be tainted", planned.tainted)):
            for stage, count in Counter(one.recipe.stage for one in manifests).items():
                print(f"  {stage:<11} {count:,} {title}")


def _print_done(done: Purged, planned: Plan) -> None:
    print("Done:")
    if done.rewritten:
        print(f"  raw         {len(done.rewritten):,} slots written anew without the forgotten items")
    if done.blanked:
        print(f"  raw         {len(done.blanked):,} items lost the bytes of forgotten documents and keep the others")
    if done.left:
        told = [f"{item} ({done.why[item]})" if item in done.why else item for item in sorted(done.left)]
        named = ", ".join(told[:_MAX_NAMED]) + (", ..." if len(done.left) > _MAX_NAMED else "")
        print(f"  raw         {len(done.left):,} items still hold bytes of forgotten documents: {named}")
    for stage in STAGES:
        if stage in done.removed:
            print(f"  {stage:<11} {done.removed[stage]:,} removed")
    for name, count in Counter(one.recipe.stage for one in planned.tainted).items():
        print(f"  {name:<11} {count:,} tainted")
    if done.work:
        print(f"  unfinished  {len(done.work):,} builds thrown away")
    if planned.tainted:
        print("`textmill ls --tainted` lists what learnt from it; the next run makes what it needs anew, without it.")
