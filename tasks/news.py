"""What is new since the last decision: in the sources, in what was forgotten, in the settings. Nothing is fetched.

A survey is JSON that the registry keeps; two of them tell what has changed. A slot is known by the key of its raw
artifact, which holds every item's mark, so a survey costs a look at the sources and no more.
"""

from collections.abc import Mapping
from typing import Any

from data.digests import text_digest
from data.facts import counted
from data.forgetting.tombstones import read_tombstones, to_json
from data.manifest import canonical_json, differences
from data.sources.base import SourceConfig
from data.sources.known import source_id
from tasks.looking import Looked
from tasks.run import Run

MOST_SETTINGS = 5  # named in one sentence


def survey(
    run: Run, sources: Mapping[str, SourceConfig], looked: Looked, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What a recipe's text and settings are now.

    sources    by name: slots, items, bytes, and a digest of what they hold
    forgotten  by name: a digest of what was taken down
    again      slots that lack what a server failed to give, so that it is to be asked again
    settings   of all that bears on the model but the sources' own
    """
    found: dict[str, Any] = {}
    for name in sources:
        mine = [(plan, raw) for plan, raw in zip(looked.planned, looked.raw, strict=True) if plan.slot.source == name]
        items = [item for plan, _ in mine for item in plan.items]
        found[name] = {
            "slots": len(mine),
            "items": len(items),
            "bytes": sum(item.size for item in items),
            "digest": text_digest(canonical_json([raw.key for _, raw in mine])),
        }
    forgotten = {
        name: text_digest(canonical_json(to_json(read_tombstones(run.store.refs, source_id(source)))))
        for name, source in sources.items()
    }
    again = sorted(plan.slot.label for plan, wanted in zip(looked.planned, looked.again, strict=True) if wanted)
    return {"sources": found, "forgotten": forgotten, "again": again, "settings": dict(settings)}


def news_since(seen: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """What is new, one sentence each; empty when nothing is. `seen` is the survey of the last decision, if any.

    A source whose takedown changed what it holds is named once, as a takedown.
    """
    if seen is None:
        return ["no decision was made before"]
    news = []
    for name in sorted({*seen["sources"], *now["sources"]}):
        before, after = seen["sources"].get(name), now["sources"].get(name)
        if before is None or after is None:
            news.append(f"{name}: the source is {'new' if before is None else 'gone'}")
        elif seen["forgotten"].get(name) != now["forgotten"].get(name):
            news.append(f"{name}: text was taken down")
        elif before["digest"] != after["digest"]:
            news.append(f"{name}: {_change(before, after)}")
    news += [f"{label}: what its server failed to give is asked for again" for label in now["again"]]
    changed = differences(seen["settings"], now["settings"])
    if changed:
        named = ", ".join(f"{path} was {old!r} and is {new!r}" for path, old, new in changed[:MOST_SETTINGS])
        news.append(f"settings: {named}{', ...' if len(changed) > MOST_SETTINGS else ''}")
    return news


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    more = after["items"] - before["items"]
    if not more:
        return f"items changed, {counted(after['items'], 'item')} as before"
    grown = after["bytes"] - before["bytes"]
    return f"{counted(abs(more), 'item')} {'more' if more > 0 else 'fewer'}, {grown:+,} bytes"
