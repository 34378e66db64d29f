"""The files of a published artifact in a bucket: are they there, are they right, and bringing them here."""

import hashlib
from pathlib import Path

from data.files import make_folder
from data.storage.attempts import PAYLOAD
from data.storage.bucket import Bucket, at_once
from data.storage.records import Record
from data.storage.uploads import FILES_AT_ONCE
from data.verification import MANIFEST, Damage, inconsistencies


class DamagedPayloadError(Exception):
    """The payload is not what the manifest says."""


def payload_of(record: Record) -> str:
    """The beginning of the keys of all objects of a payload."""
    return f"{PAYLOAD}{record.stage}/{record.ref.key}/{record.attempt}/"


def first_lack(bucket: Bucket, record: Record) -> str | None:
    """The first file of a payload that is not there or has another size, in words; contents are not read."""
    place = payload_of(record)
    there = {one.key.removeprefix(place): one.bytes for one in bucket.objects(place)}
    for path, entry in record.manifest.files.items():
        if path not in there:
            return f"{bucket}/{place}{path} is missing"
        if there[path] != entry.bytes:
            return f"{bucket}/{place}{path} has {there[path]} bytes, its manifest says {entry.bytes}"
    return None


def read_file(bucket: Bucket, record: Record, file: str) -> bytes | None:
    """The bytes of one small file of a payload; None when it is not there, or is not as it was published."""
    content = bucket.get(payload_of(record) + file)
    if content and hashlib.sha256(content.body).hexdigest() == record.manifest.files[file].sha256:
        return content.body
    return None


def fetch(bucket: Bucket, record: Record, to: Path) -> None:
    """Bring a payload into the folder `to`, where parts of it may lie, and check it. Raises DamagedPayloadError."""
    place, files = payload_of(record), record.manifest.files

    def bring(path: str) -> None:
        target = to / path
        if not target.resolve().is_relative_to(to.resolve()):
            raise DamagedPayloadError(f"{path} leads out of the artifact")
        make_folder(target.parent)
        if target.exists() and target.stat().st_size > files[path].bytes:
            target.unlink()
        digest = None
        for _ in range(2):  # what is wrong may be what an older download left
            try:
                digest = bucket.download(place + path, target)
            except FileNotFoundError as error:
                if bucket.head(place + path) is None:
                    raise DamagedPayloadError(f"{error} is missing") from None
            if digest == files[path].sha256:
                return
            target.unlink(missing_ok=True)
        raise DamagedPayloadError(f"sha256 of {place}{path} is {str(digest)[:12]}, not {files[path].sha256[:12]}")

    for path in [path for path in to.rglob("*") if path.is_file() and path.relative_to(to).as_posix() not in files]:
        path.unlink()
    at_once(bring, list(files), FILES_AT_ONCE)


def damages(bucket: Bucket, record: Record) -> list[Damage]:
    """Read every file of a payload anew: what is missing, changed, unknown or inconsistent."""
    ref, place = str(record.ref), payload_of(record)
    found = list(inconsistencies(record.manifest, ref, Path(ref) / MANIFEST))
    files = record.manifest.files
    digests = at_once(lambda path: _digest(bucket, place + path), list(files), FILES_AT_ONCE)
    for (path, entry), digest in zip(files.items(), digests, strict=True):
        if digest is None:
            found.append(Damage(ref, Path(ref) / path, "is missing"))
        elif digest != entry.sha256:
            problem = f"sha256 is {digest[:12]}, its manifest says {entry.sha256[:12]}"
            found.append(Damage(ref, Path(ref) / path, problem))
    for one in bucket.objects(place):
        if (path := one.key.removeprefix(place)) not in files:
            found.append(Damage(ref, Path(ref) / path, "is not in the manifest"))
    return found


def delete_all(bucket: Bucket, below: str) -> None:
    """Delete every object whose key begins with `below`."""
    bucket.delete([one.key for one in bucket.objects(below)])


def _digest(bucket: Bucket, key: str) -> str | None:
    try:
        return bucket.digest(key)
    except FileNotFoundError:
        return None
