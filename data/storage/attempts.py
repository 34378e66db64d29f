"""What was uploaded and is no artifact: payloads that were replaced, and tries to publish that nobody goes on with."""

import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from data.storage.bucket import Bucket, NotThereError
from data.storage.manifests import Manifests

PAYLOAD = "payload/"
YOUNG = 600.0  # seconds: so long somebody who publishes takes no other's try for left over

Attempt = tuple[str, str]
"""Key of an artifact, and the name of one try to publish it."""


def clear_attempts(
    bucket: Bucket,
    manifests: Manifests,
    stage: str,
    older_than: float = 0.0,
    key: str | None = None,
    in_parts: bool = True,
) -> list[str]:
    """Delete what lies below payload/<stage>/<key>/<attempt>/ and is named by no manifest; returns these places.

    Only where nothing was added for `older_than` seconds, and of all keys if `key` is None; `in_parts` also takes back
    files of which only parts are up, which the server must allow to be listed. Whoever is at such an upload brings it
    up again. Raises TextmillError when a manifest cannot be read.
    """
    below = f"{PAYLOAD}{stage}/{key}/" if key else f"{PAYLOAD}{stage}/"
    newest: dict[Attempt, datetime] = {}
    objects: dict[Attempt, list[str]] = defaultdict(list)
    open_uploads: dict[Attempt, list[tuple[str, str]]] = defaultdict(list)
    for one in bucket.objects(below):
        attempt = _attempt(one.key)
        objects[attempt].append(one.key)
        newest[attempt] = max(one.modified, newest.get(attempt, one.modified))
    for place, number, begun in _in_parts(bucket, below) if in_parts else ():
        attempt = _attempt(place)
        open_uploads[attempt].append((place, number))
        newest[attempt] = max(begun, newest.get(attempt, begun))
    before = datetime.now(UTC) - timedelta(seconds=older_than)
    old = [attempt for attempt, at in newest.items() if not older_than or at < before]
    current = _current(manifests, stage, {key for key, _ in old})
    left = [attempt for attempt in old if current.get(attempt[0]) != attempt[1]]
    for attempt in left:
        for place, number in open_uploads[attempt]:
            _abort(bucket, place, number)
    bucket.delete(place for attempt in left for place in objects[attempt])
    return [f"{PAYLOAD}{stage}/{key}/{name}" for key, name in sorted(left)]


def stages_of_attempts(bucket: Bucket) -> list[str]:
    """The stages of which files, or parts of files, were uploaded."""
    return sorted({*bucket.folders(PAYLOAD), *(place.split("/")[1] for place, _, _ in _in_parts(bucket, PAYLOAD))})


def _attempt(place: str) -> Attempt:
    _, _, key, name = place.split("/")[:4]
    return key, name


def _current(manifests: Manifests, stage: str, keys: Collection[str]) -> Mapping[str, str]:
    """The attempts that are published now; asked after the listing, as a later one is in no list of it."""
    return {key: record.attempt for key, record in manifests.now(stage, keys, strict=True).items()} if keys else {}


def _in_parts(bucket: Bucket, below: str) -> Iterator[tuple[str, str, datetime]]:
    """Place, number and begin of every upload in parts that was not completed."""
    more: dict[str, Any] = {}
    while True:
        page = bucket.call("list_multipart_uploads", None, Prefix=bucket.prefix + below, **more)
        for one in page.get("Uploads", []):
            yield one["Key"].removeprefix(bucket.prefix), one["UploadId"], one["Initiated"]
        if not page.get("IsTruncated"):
            return
        more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _abort(bucket: Bucket, place: str, number: str) -> None:
    with contextlib.suppress(NotThereError):
        bucket.call("abort_multipart_upload", place, UploadId=number)
