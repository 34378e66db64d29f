"""The raw stage: look at every source, let the ledger assign items to slots, fetch the slots that changed."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from data.errors import TextmillError
from data.facts import Facts
from data.forgetting.chats import SECRET
from data.forgetting.sifting import concerns, sift
from data.forgetting.tombstones import Sieve, read_tombstones
from data.manifest import ArtifactRef, Identity
from data.sources.base import SlotItem, SourceConfig, of_source
from data.sources.known import source_id
from data.sources.pack import content_bytes
from data.store import Build, Store
from tasks.looking import Looked, SlotPlan, look_at, look_once, named, replace_by, slot_place
from tasks.progress import watcher
from tasks.run import Run
from tasks.runtime import PROJECT_ROOT
from tasks.secrets import ask_prefect_too
from tasks.slots import Slot
from tasks.units import Unit, UnitProgress, as_it_is, stage_work

ask_prefect_too()


@task(task_run_name="look at {name}", cache_policy=NO_CACHE, persist_result=False)
def look(name: str, source: SourceConfig, store: Store, opened: str) -> tuple[list[SlotPlan], list[str]]:
    """See what a source has now and bring its ledger up to date; returns its slots and what the report must say."""
    return look_once(name, source, store, opened, watcher().note)


def look_at_all(run: Run, sources: Mapping[str, SourceConfig]) -> Looked:
    """Look at every source, each in a task of its own."""
    return look_at(
        run, sources, lambda name, source, store, opened: look(name, as_it_is(source), as_it_is(store), opened)
    )


def fetch(run: Run, sources: Mapping[str, SourceConfig], looked: Looked | None = None) -> list[Slot]:
    """Raw slots of all sources, in the order in which they were opened; only what is new or changed is fetched.

    `looked` is the look that this run has taken already.
    """
    looked = looked or look_at_all(run, sources)
    planned = looked.planned
    units = [
        _unit(run, sources[plan.slot.source], plan, raw, again)
        for plan, raw, again in zip(planned, looked.raw, looked.again, strict=True)
    ]
    if run.runtime.offline:
        _refuse_to_fetch(run, [unit for unit, plan in zip(units, planned, strict=True)
                               if sources[plan.slot.source].reaches_network()])  # fmt: skip
    run.use(*(ref for plan in planned for ref in plan.earlier))
    with stage_work(run, "raw", len(planned)) as work:
        refs = work.build(units)
    slots = [replace(plan.slot, ref=ref) for plan, ref in zip(planned, refs, strict=True)]
    for name, source in sources.items():
        fetched = {slot_place(slot): slot.ref.key for slot in slots if slot.source == name}
        run.store.refs.update(f"fetched/{source_id(source)}", partial(replace_by, fetched))
    run.finish("raw")
    return slots


def _refuse_to_fetch(run: Run, units: Sequence[Unit]) -> None:
    """Raise TextmillError naming the slots of sources on the network that are not in the store."""
    there = {} if "raw" in run.refresh else run.store.find("raw", [unit.identity.key for unit in units])
    missing = [unit.label for unit in units if unit.identity.key not in there]
    if missing:
        why = "they were to be refreshed" if "raw" in run.refresh else "they were never fetched into this store"
        raise TextmillError(
            f"runtime.offline is true, but {len(missing)} of {len(units)} slots need the network ({why}): "
            f"{named(missing)}. Run once without offline, or leave their sources out (`enabled`: false)."
        )


def _unit(run: Run, source: SourceConfig, plan: SlotPlan, raw: Identity, again: bool) -> Unit:
    refs = run.store.refs
    buried = read_tombstones(refs, source_id(source))
    forgotten = Sieve(buried.documents, buried.authors)
    make = partial(_fetch, plan.slot.source, source, plan.items, run.store, plan.earlier, forgotten)
    here = source.reaches_network()  # which keeps one pace
    return Unit(plan.slot.name, plan.slot.label, raw, (), make, again, here=here)


def _fetch(
    name: str,
    source: SourceConfig,
    items: Sequence[SlotItem],
    store: Store,
    earlier: Sequence[ArtifactRef],
    forgotten: Sieve,
    build: Build,
    progress: UnitProgress,
) -> Facts:
    """Fetch a slot; the bytes of forgotten documents do not come back with the files in which they still stand."""
    with store.using(earlier), of_source(name):
        folders = [store.place(ref) for ref in earlier]
        facts = source.fetch(items, PROJECT_ROOT, build.out, build.keep, progress, folders)
        if concerns(source.kind, forgotten, items):
            fetched = build.out.with_name("fetched")  # not in `keep`, which outlives a killed build
            shutil.rmtree(fetched, ignore_errors=True)
            build.out.rename(fetched)
            build.out.mkdir()
            secret = getattr(source, "pseudonym_key", SECRET)
            try:
                sift(source.kind, fetched, build.out, forgotten, [source.reading_identity()], secret)
            finally:
                shutil.rmtree(fetched)
            facts.counts["bytes"] = content_bytes(build.out)
        return facts
