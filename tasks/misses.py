"""Why a unit was not `Cached`: the fields in which its identity differs from the nearest artifact that is there.

Nearest is the artifact of the same stage and name with the fewest differing fields, of those the newest.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from data.manifest import Identity, Manifest, differences, safe_name
from data.store import Store

EXPLAINED = 8  # units of a stage that are compared with what is there; of four hundred all have the same reason
SHOWN = 4  # differing fields in one line
PARTS = ("version", "config", "libraries", "inputs")


def explain_misses(store: Store, wanted: Sequence[tuple[str, str, Identity]]) -> list[str]:
    """A line for every reason that some of `wanted` (name, label, identity) are built, with the units it holds for.

    Nothing is said of units of which there was never one by their name.
    """
    chosen = wanted[:EXPLAINED]
    if not chosen:
        return []
    by_name = _named(store, chosen[0][2].stage, {safe_name(name) for name, _, _ in chosen})
    units: dict[str, list[str]] = defaultdict(list)
    for name, label, identity in chosen:
        if there := by_name.get(safe_name(name)):
            units[_reason(identity, there)].append(label)
    more = f", and {len(wanted) - len(chosen):,} more that were not compared" if len(wanted) > len(chosen) else ""
    return [f"built {', '.join(labels)}{more}: {reason}" for reason, labels in units.items()]


def changed_fields(one: Identity, other: Identity) -> list[tuple[str, Any, Any]]:
    """Where two identities differ: (dotted field, value in `one`, value in `other`), settings before digests."""
    left, right = asdict(one), asdict(other)
    found = [change for part in PARTS for change in differences(left[part], right[part], part)]
    return sorted(found, key=lambda change: is_digest(change[1]) or is_digest(change[2]))


def is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{32,}", value) is not None


def brief(value: Any) -> str:
    return f"{value[:12]}..." if is_digest(value) else repr(value)


def _named(store: Store, stage: str, names: set[str]) -> dict[str, list[Manifest]]:
    """The artifacts of a stage that bear one of the names, oldest first."""
    found: dict[str, list[Manifest]] = defaultdict(list)
    for manifest in store.manifests(stage, names):
        found[manifest.name].append(manifest)
    return found


def nearest_to(identity: Identity, there: Sequence[Manifest]) -> tuple[Manifest, list[tuple[str, Any, Any]]]:
    """Of at least one artifact, oldest first, the nearest, and in which fields it differs."""
    changes = [(manifest, changed_fields(manifest.recipe, identity)) for manifest in reversed(there)]
    return min(changes, key=lambda one: len(one[1]))


def _reason(identity: Identity, there: Sequence[Manifest]) -> str:
    nearest, fewest = nearest_to(identity, there)
    if not fewest:
        return f"{nearest.ref} was to be built again"
    told = [f"{field} was {brief(before)}, is {brief(now)}" for field, before, now in fewest[:SHOWN]]
    if len(fewest) > SHOWN:
        told.append(f"and {len(fewest) - SHOWN} more")
    return f"unlike {nearest.ref}, {'; '.join(told)}"
