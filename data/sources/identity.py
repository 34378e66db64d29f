"""What an item and a fetched slot are known by: fingerprints, records, and what enters a slot's key."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from data.sources.base import SlotItem, SourceConfig


def content_fingerprint(chunks: Iterable[bytes]) -> str:
    """The fingerprint of content at hand: sha256 of its bytes."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def item_record(item: SlotItem) -> dict[str, Any]:
    """An item as JSON: what a line of items.jsonl says of it, its place in content.bin aside."""
    record: dict[str, Any] = {
        "native_id": item.native_id,
        "fingerprint": item.fingerprint,
        "bytes": item.size,
        "look": item.look,
    }
    extra = {"url": item.url, "created": item.created, "meta": dict(item.meta) or None}
    return record | {name: value for name, value in extra.items() if value is not None}


def slot_identity(source: SourceConfig, items: Iterable[SlotItem]) -> dict[str, Any]:
    """What determines the bytes of a fetched slot: the source's settings, and all that is known of its items.

    The items enter as one digest, so that manifests stay small; the slot's items.jsonl lists them.
    """
    return {**source.identity(), "items": items_identity(items)}


def items_identity(items: Iterable[SlotItem]) -> dict[str, Any]:
    """The items' part of a fetched slot's identity."""
    records = [item_record(item) for item in items]
    text = json.dumps(records, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {"count": len(records), "sha256": hashlib.sha256(text.encode()).hexdigest()}
