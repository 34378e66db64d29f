"""Carrying out a plan of data/forgetting/plan.py, so that killing it anywhere and beginning again ends the same.

First the tombstones, which keep what is forgotten from coming back; then the marks on what learnt from it, while the
lineage is still there to be read; then raw slots without the forgotten items, under the keys that the next run will
ask for, and without the bytes of forgotten documents in items that stay; then the removal, from what was made last to
what came first, so that an unfinished one is found again.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from data.facts import Facts
from data.forgetting import taint
from data.forgetting.begun import clear_begun, note_removed
from data.forgetting.blanking import Blanked
from data.forgetting.chats import REALMS, SECRET
from data.forgetting.gone import REMOVED, Gone
from data.forgetting.plan import Plan
from data.forgetting.sifting import Searched, sift
from data.forgetting.tombstones import Request, Sieve, Tombstones, bury, read_tombstones
from data.housekeeping.claims import Claim, collection
from data.housekeeping.removal import remove_each
from data.ledger import as_it_stands, place_of, without
from data.manifest import ArtifactRef, Manifest
from data.sources.base import SlotItem
from data.sources.identity import items_identity
from data.sources.known import note_done, note_readings
from data.sources.pack import PackReader, PackWriter, content_bytes, read_items
from data.store import Build, Store

T = TypeVar("T")


@dataclass(frozen=True)
class Purged:
    """What was done: raw slots written anew, artifacts removed by stage, unfinished builds thrown away.

    blanked  raw items that hold other documents, too, and now lack the forgotten ones
    left     raw items that still hold bytes of forgotten ones
    why      {item that was left: what was wrong with its file}, where that is the reason
    """

    rewritten: tuple[ArtifactRef, ...]
    removed: Mapping[str, int]
    work: tuple[str, ...]
    blanked: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    why: Mapping[str, str] = field(default_factory=dict)


def carry_out(store: Store, plan: Plan, authors: Collection[str] = (), secret: str = SECRET) -> Purged:
    """Forget what is planned. `authors` are hashes of authors of whom nothing shall come in later, either, `secret`
    is the name of the one that authors' names are made with.

    Nobody may clean the store up meanwhile: what is written anew is named nowhere until all of it is. Raises
    TextmillError when somebody is at it.
    """
    with collection(store) as claim, claim.kept():
        return _carry_out(store, plan, authors, secret, claim)


def _carry_out(store: Store, plan: Plan, authors: Collection[str], secret: str, claim: Claim) -> Purged:
    date = datetime.now(UTC).isoformat(timespec="seconds")
    known = {owner: gone for owner, gone in plan.by_source.items() if owner in plan.holdings.sources}
    noted = []
    for owner, gone in known.items():
        is_chat = plan.holdings.sources[owner].kind in REALMS and not gone.whole
        if is_chat and (read := plan.holdings.readings_of(owner)):
            note_readings(store.refs, owner, read)
            noted.append(owner)
        bury(store.refs, owner, partial(_with, gone, date, frozenset(authors)))
    note_removed(store, (one.ref for one in plan.removed), date, any(gone.kept_in for gone in known.values()))
    reason = f"made from text of which {plan.rows:,} documents (copies and versions included) were forgotten"
    taint.mark(store, (one.ref for one in plan.tainted), date, reason)
    removed = {one.key for one in plan.removed}
    rewritten = []
    for owner, gone in known.items():
        if gone.items or gone.whole:
            rewritten += _rewrite_source(store, owner, gone, removed, claim)
    blanked: list[Blanked] = []
    for owner, gone in known.items():
        if gone.kept_in:
            blanked += _blank_source(store, plan, owner, gone, removed, rewritten, secret, claim)
    counts = Counter(one.recipe.stage for one in _kept_up(claim, remove_each(store, plan.removed)))
    store.clear_attempts(REMOVED)
    work = clear_begun(store)
    store.sweep()  # what an earlier one was killed at
    for owner in {*noted, *(owner for owner in known if plan.holdings.sources[owner].is_being_forgotten)}:
        note_done(store.refs, owner)
    left = frozenset(item for one in blanked for item in one.left)
    done = frozenset(item for one in blanked for item in one.done)
    why = {item: said for one in blanked for item, said in one.why.items()}
    return Purged(tuple(rewritten), counts, tuple(work), done, left, why)


def _kept_up(claim: Claim, items: Iterable[T]) -> Iterator[T]:
    """The items, with a word now and then that this is still at work."""
    for one in items:
        claim.keep()
        yield one


def _with(gone: Gone, date: str, authors: frozenset[str], known: Tombstones) -> Tombstones:
    if gone.whole:
        return replace(known, whole=known.whole or date)
    return known.with_more(gone.items, Request(date, frozenset(gone.sifted()), authors, frozenset(gone.clear)))


def _rewrite_source(store: Store, owner: str, gone: Gone, removed: Collection[str], claim: Claim) -> list[ArtifactRef]:
    """Raw slots of a source without the items that go, and its ledger and what is noted of its slots accordingly."""
    ledger_name = f"ledgers/{owner}"
    ledger = store.refs.read(ledger_name).value
    fetched: Mapping[str, str] = store.refs.read(f"fetched/{owner}").value or {}
    made: dict[str, ArtifactRef | None] = {}
    if ledger is not None and not gone.whole:
        slots = {place_of(slot.opened, slot.number): slot.items for slot in as_it_stands(ledger)}
        there = store.find("raw", [key for key in fetched.values() if key in removed])
        for place, key in _kept_up(claim, fetched.items()):
            if key in there:
                made[place] = _rewrite(store, store.manifest(there[key]), slots.get(place, ()), gone)

    def note_fetched(value: Mapping[str, str] | None) -> dict[str, str]:
        now = {place: key for place, key in (value or {}).items() if key not in removed}
        return now | {place: ref.key for place, ref in made.items() if ref is not None}

    refs = [ref for ref in made.values() if ref is not None]
    if refs:
        store.refs.update(f"sources/{owner}", partial(_with_raw, [ref.key for ref in refs]))
    if ledger is not None:
        store.refs.update(ledger_name, lambda value: without(value, gone.holds_item))
        store.refs.drop_earlier(ledger_name)
    if fetched:
        store.refs.update(f"fetched/{owner}", note_fetched)
    if gone.whole and store.refs.read(f"looks/{owner}").token is not None:
        store.refs.update(f"looks/{owner}", lambda _: None)
        store.refs.drop_earlier(f"looks/{owner}")
    return refs


def _blank_source(
    store: Store,
    plan: Plan,
    owner: str,
    gone: Gone,
    removed: Collection[str],
    rewritten: Collection[ArtifactRef],
    secret: str,
    claim: Claim,
) -> list[Blanked]:
    """Take the bytes of forgotten documents out of raw items that stay, under the keys that these have."""
    holdings = plan.holdings
    kind = holdings.sources[owner].kind
    sieve = Sieve(frozenset().union(*gone.kept_in.values()), read_tombstones(store.refs, owner).authors)
    refs = [holdings.manifests[key].ref for key, owners in holdings.raw_owners.items() if owner in owners]
    found = []
    for ref in _kept_up(claim, [*(ref for ref in refs if ref.key not in removed), *rewritten]):
        manifest = store.manifest(ref)
        if not any(item.native_id in gone.kept_in for item in read_items(store.path(ref))):
            continue
        blanked = Blanked()
        wanted = partial(sift, kind, sieve=sieve, identities=holdings.readings(ref.key, owner), secret=secret)
        known = {digest: one for (id_, digest), one in plan.searched.items() if id_ == owner}
        make = partial(_blank, store, ref, manifest, wanted, known, blanked)
        store.build(manifest.recipe, manifest.name, make, refresh=True)
        found.append(blanked)
    return found


def _blank(
    store: Store,
    ref: ArtifactRef,
    manifest: Manifest,
    wanted: Callable[..., Blanked],
    searched: Mapping[str, Searched],
    blanked: Blanked,
    build: Build,
) -> Facts:
    """Write the raw slot anew. What lies in its place is looked at here and not before, as nobody else replaces it
    now: `searched`, by payload digest, tells only of what it was when it was planned what goes."""
    seen = searched.get(store.manifest(ref).payload_digest)
    found = wanted(raw=store.path(ref), out=build.out, searched=seen)
    blanked.done, blanked.left, blanked.why = found.done, found.left, found.why
    return Facts(manifest.counts | {"bytes": content_bytes(build.out)}, manifest.licences, manifest.notes,
                 manifest.details)  # fmt: skip


def _with_raw(keys: Collection[str], value: Mapping[str, Any] | None) -> dict[str, Any]:
    known = dict(value or {"kind": "", "names": []})
    return known | {"raw": sorted({*known.get("raw", []), *keys})}


def _rewrite(store: Store, manifest: Manifest, items: Collection[SlotItem], gone: Gone) -> ArtifactRef | None:
    """The raw slot without the items that go, as the next run would fetch it; None when it must fetch it itself."""
    known = {item.native_id: item for item in items}
    packed = [item.native_id for item in read_items(store.path(manifest.ref))]
    if any(native_id not in known for native_id in packed):
        return None
    recipe = manifest.recipe
    if (
        replace(recipe, config=recipe.config | {"items": items_identity(known[one] for one in packed)}).key
        != recipe.key
    ):
        return None
    left = [known[one] for one in packed if not gone.holds_item(one)]
    if not left:
        return None
    identity = replace(recipe, config=recipe.config | {"items": items_identity(left)})
    return store.build(identity, manifest.name, partial(_copy, store.path(manifest.ref), manifest, gone))


def _copy(raw: Path, manifest: Manifest, gone: Gone, build: Build) -> Facts:
    with PackReader(raw) as reader, PackWriter(build.out) as pack:
        for item in read_items(raw):
            if not gone.holds_item(item.native_id):
                pack.add(item, reader.chunks(item), check=False, sifted=item.sifted is not None)
    counts = manifest.counts | {"items": pack.items, "bytes": pack.bytes}
    return Facts(counts, manifest.licences, manifest.notes, manifest.details)
