"""What an address may be for the url source, and what lies there: on web servers, on this machine, in object storage.

Secrets have no place in an address: what stands in it ends up in manifests. Knows nothing of reading.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from data.facts import Progress
from data.files import sync_file
from data.sources.base import SlotItem, SourceError
from data.sources.pack import CHUNK, ChangedSinceLookError
from data.sources.remote_items import bring_from_web, marks
from data.web.client import Remote, Web
from data.web.errors import NotThereError, shown

SCHEMES = ("http", "https", "file", "s3")
_SECRET = re.compile(
    r".*(?:token|secret|passw|pwd|signature|api[-_]?key|access[-_]?key|authorization|credential|jwt).*"
    r"|(?:.*[-_])?(?:sig|auth|key|pass)",
    re.IGNORECASE,
)


def what_is_wrong(url: str) -> str:
    """Why this cannot be an address of the url source, without showing secrets; empty if it can."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018
    except ValueError:
        end = re.split(r"[?#]", url.rpartition("@")[2])[0][:80]
        return f"an address with {end!r} cannot be read: its port is no number, or its brackets do not match"
    if not (url.isprintable() and url == url.strip() and " " not in url):
        return f"{shown(url)} has white space or control characters in it; write them as %20 and the like"
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        return f"{shown(url).rpartition('@')[2][:80]!r} begins with none of {known}"
    if (parts.scheme == "file") != (parts.hostname is None) or (parts.scheme == "file" and parts.path in ("", "/")):
        return (
            f"{shown(url).rpartition('@')[2]} is incomplete; right are https://host/path, file:///path, s3://bucket/key"
        )
    if parts.username is not None or parts.password is not None:
        return f"{shown(url)} has a user name or password in it; put them into a secret, see authorization_secret"
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.fullmatch(name)]
    if names:
        return f"{shown(url)} has a secret in it ({names[0]}); put it into a secret, see authorization_secret"
    return ""


def name_in(url: str) -> str:
    """The name that tells the kind of what lies at an address: the last part of its path."""
    return unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]


class Places:
    """Looks at addresses and brings what lies there, whatever their scheme.

    web      for http and https; `headers` are sent to the addresses' own hosts only
    memo     of an earlier look: digests of local files by address, with size and times
    """

    def __init__(self, web: Web, headers: Mapping[str, str], memo: Any = None) -> None:
        self._web = web
        self._headers = dict(headers)
        self._memo = memo if isinstance(memo, dict) else {}
        self.memo: dict[str, Any] = {}
        self._look: dict[str, Callable[[str], Remote]] = {"file": self._look_at_file, "s3": look_at_object}

    def look(self, url: str) -> Remote:
        """What is there now. Raises SourceError; NotThereError when there is nothing."""
        scheme = urlsplit(url).scheme
        return self._look[scheme](url) if scheme in self._look else self._web.look(url, self._headers)

    def bring(self, item: SlotItem, into: Path, progress: Progress) -> None:
        """Bring an item, as `fetch_items` asks for it."""
        scheme = urlsplit(item.native_id).scheme
        if scheme == "file":
            _copy(item, into)
        elif scheme == "s3":
            bring_object(item, into, progress)
        else:
            bring_from_web(self._web, item.native_id, item, into, progress, self._headers)

    def _look_at_file(self, url: str) -> Remote:
        """A local file; its digest serves as an ETag."""
        path = path_in(url)
        now = time.time_ns()
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                known = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
                entry = self._memo.get(url)
                if isinstance(entry, list) and len(entry) == 2 and entry[0] == known and isinstance(entry[1], str):
                    digest = entry[1]
                else:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotThereError(url, "there is no such file. Correct the address, or put the file there.") from error
        except OSError as error:
            raise SourceError(f"{url}: cannot be read: {error.strerror}.") from error
        if max(status.st_mtime_ns, status.st_ctime_ns) < now - 2_000_000_000:  # or its times might not show a change
            self.memo[url] = [known, digest]
        return Remote(url, status.st_size, f'"{digest}"', None, True)


def path_in(url: str) -> Path:
    """The path that a file address means."""
    return Path(unquote(urlsplit(url).path))


def _copy(item: SlotItem, into: Path) -> None:
    """Copy a local file, if it is still what was looked at."""
    known = marks(item.fingerprint)
    partial = into.with_name(f"{into.name}.part")
    try:
        shutil.copyfile(path_in(item.native_id), partial)
    except OSError as error:
        raise SourceError(f"{item.native_id} cannot be read any more ({error.strerror}). Put it back.") from error
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    expected = known.sha256 or (known.etag or "").strip('"')
    if digest != expected:
        raise ChangedSinceLookError(
            f"{item.native_id} is not what was expected: sha256 {expected} was, {digest} came. Run again when it is no "
            "longer being written, or correct its sha256."
        )
    os.replace(partial, into)


def object_storage() -> Any:
    """The file system of object storage. Raises SourceError when what it needs is not installed."""
    import fsspec

    try:
        return fsspec.filesystem("s3")
    except ImportError as error:
        raise SourceError(
            "Addresses that begin with s3:// need the package s3fs, which is not installed: .venv/bin/pip install "
            "-c constraints.txt -e '.[s3]'. What it needs to know of you it takes from AWS_ACCESS_KEY_ID and its like."
        ) from error


def look_at_object(url: str) -> Remote:
    """An object's size and marks."""
    storage = object_storage()
    try:
        found = storage.info(url)
    except FileNotFoundError as error:
        raise NotThereError(url, "there is no such object. Correct the address.") from error
    except Exception as error:  # whatever the storage's own client raises
        raise SourceError(f"{url}: cannot be looked at ({type(error).__name__}). Check access and address.") from error
    etag, date = found.get("ETag"), found.get("LastModified") or found.get("created")
    size = found.get("size")
    return Remote(url, None if size is None else int(size), etag and str(etag), date and str(date), True)


def bring_object(item: SlotItem, into: Path, progress: Progress) -> None:
    """Download an object; what an earlier call has got of the same copy is continued, `into` being named after it."""
    if into.exists():
        return
    storage = object_storage()
    known = marks(item.fingerprint)
    now = look_at_object(item.native_id)
    if (known.etag, known.last_modified) not in (
        (None, None),
        (now.etag, None),
        (None, now.last_modified),
    ):
        raise ChangedSinceLookError(f"{item.native_id} changed since it was looked at. Run again.")
    partial = into.with_name(f"{into.name}.part")
    try:
        with storage.open(item.native_id, "rb") as source, partial.open("ab") as file:
            source.seek(file.tell())
            while chunk := source.read(CHUNK):
                file.write(chunk)
                progress(file.tell(), now.size or 0, "bytes")
    except Exception as error:  # whatever the storage's own client raises
        raise SourceError(
            f"{item.native_id}: cannot be fetched ({type(error).__name__}). Run again; what has come is kept."
        ) from error
    size = partial.stat().st_size
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest() if known.sha256 else None
    if digest != known.sha256 or (now.size is not None and size != now.size):
        partial.unlink()
        raise SourceError(
            f"{item.native_id} is not what was expected: {known.sha256 or now.size} was, {digest or size} came."
        )
    sync_file(partial)
    os.replace(partial, into)
