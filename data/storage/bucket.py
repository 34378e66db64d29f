"""A place in a bucket of object storage, reduced to the few operations that a store needs, through s3fs.

Credentials and the server's address are found as every program for S3 finds them (AWS_ACCESS_KEY_ID, AWS_PROFILE, the
role of the machine, AWS_ENDPOINT_URL); nothing here holds, shows or passes them on. Whatever goes wrong is a
StorageError of one line, without the library's errors behind it, as those repeat what was sent.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar

from data.digests import text_digest
from data.errors import TextmillError
from data.files import REMEDIES
from data.storage.troubles import GONE, code_of, trouble

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16  # requests of one process at the same time
PAGE = 1000  # keys of one answer to a listing; servers give no more
CHUNK = 1 << 20  # bytes read from the network at a time
TIMEOUTS = {"connect_timeout": 10, "read_timeout": 60, "retries": {"total_max_attempts": 4, "mode": "standard"}}


@dataclass(frozen=True)
class Listed:
    """An object as a listing shows it. `key` is below the prefix of its bucket; `bytes` its size."""

    key: str
    bytes: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Content:
    """A small object, read whole."""

    body: bytes
    etag: str


@dataclass(frozen=True)
class _Page:
    """One answer to a listing; `more` asks for the next."""

    objects: list[Listed]
    more: str | None


class NotThereError(FileNotFoundError):
    """There is no such object; `code` is the server's word for it."""

    def __init__(self, where: str, code: str) -> None:
        super().__init__(where)
        self.code = code


class Bucket:
    """Objects of the bucket `name` whose keys begin with `prefix`; keys are given and shown without it.

    May be used from several threads, after a fork, and pickled. Every method raises StorageError when the server
    cannot be reached or refuses.
    """

    def __init__(self, name: str, prefix: str) -> None:
        self.name = name
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    # -- small objects ---------------------------------------------------------------------------------------------

    def get(self, key: str, unless: str | None = None) -> Content | None:
        """An object, or None. Where its etag is still `unless`, its body is left out."""
        condition = {"IfNoneMatch": unless} if unless else {}
        try:
            content: Content = self._run(key, self._get, key, condition)
            return content
        except NotThereError as error:
            return Content(b"", unless) if unless and error.code in ("304", "NotModified") else None

    async def _get(self, key: str, condition: dict[str, str]) -> Content:
        response = await self._request("get_object", Key=self.prefix + key, **condition)
        async with response["Body"] as body:
            return Content(await body.read(), response["ETag"])

    def head(self, key: str) -> dict[str, Any] | None:
        """ETag, ContentLength and Metadata of an object, or None."""
        try:
            return self.call("head_object", key)
        except FileNotFoundError:
            return None

    def put(self, key: str, body: bytes, **arguments: Any) -> str:
        """Write an object whole, with more arguments of botocore's `put_object`; returns its etag."""
        return str(self.call("put_object", key, Body=body, **arguments)["ETag"])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there do no harm."""
        names = list(keys)
        for at in range(0, len(names), 1000):
            wanted = [{"Key": self.prefix + name} for name in names[at : at + 1000]]
            refused = self.call("delete_objects", None, Delete={"Objects": wanted, "Quiet": True}).get("Errors", [])
            if refused:
                key = refused[0]["Key"].removeprefix(self.prefix)
                raise trouble(refused[0].get("Code", "unknown"), f"{self}/{key}", self.name)

    def objects(self, below: str, after: str = "") -> Iterator[Listed]:
        """Every object whose key begins with `below` and comes behind `after`, in order: one request for a thousand."""
        more: dict[str, Any] = {"StartAfter": self.prefix + after} if after else {}
        while True:
            page = self._page(below, more)
            yield from page.objects
            if not page.more:
                return
            more = {"ContinuationToken": page.more}

    def objects_by(self, characters: str, below: str) -> list[Listed]:
        """Those that go on behind `below` with one of these characters, given in order; others may be missing.

        What does not come with the first request is asked for character by character, all at the same time.
        """
        page = self._page(below, {})
        found = page.objects
        if page.more:
            last = found[-1].key if found else below

            def behind(character: str) -> list[Listed]:
                start = below + character  # some servers list nothing after a key that does not begin so
                return list(self.objects(start, last if last.startswith(start) else ""))

            rest = [one for one in characters if one >= last[len(below) :][:1]]
            found += [one for part in at_once(behind, rest) for one in part]
        return found

    def _page(self, below: str, more: dict[str, Any]) -> "_Page":
        page = self.call("list_objects_v2", None, Prefix=self.prefix + below, MaxKeys=PAGE, **more)
        objects = [
            Listed(one["Key"].removeprefix(self.prefix), one["Size"], one["ETag"], one["LastModified"])
            for one in page.get("Contents", [])
        ]
        return _Page(objects, page["NextContinuationToken"] if page.get("IsTruncated") else None)

    def folders(self, below: str) -> list[str]:
        """Names of the folders in the folder `below` (which ends in a slash), without listing what they hold."""
        found: list[str] = []
        more: dict[str, Any] = {}
        while True:
            page = self.call("list_objects_v2", None, Prefix=self.prefix + below, Delimiter="/", **more)
            found += [one["Prefix"].removeprefix(self.prefix + below)[:-1] for one in page.get("CommonPrefixes", [])]
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    # -- files -----------------------------------------------------------------------------------------------------

    def download(self, key: str, to: Path) -> str:
        """Write an object to a file, going on behind what a cut download left there; returns the sha256 of all of it.

        Raises FileNotFoundError when there is no such object.
        """
        digest = hashlib.sha256()
        with to.open("a+b") as file:
            file.seek(0)
            while chunk := file.read(CHUNK):
                digest.update(chunk)
            try:
                self._run(key, self._download, key, file, digest)
            except NotThereError as error:
                there = error.code in ("416", "InvalidRange") and self.head(key)
                if not there or there["ContentLength"] != file.tell():
                    raise
        return digest.hexdigest()

    def digest(self, key: str) -> str:
        """sha256 of an object, read without being kept. Raises FileNotFoundError when there is none."""
        digest = hashlib.sha256()
        self._run(key, self._download, key, None, digest)
        return digest.hexdigest()

    async def _download(self, key: str, file: IO[bytes] | None, digest: Any) -> None:
        there = file.tell() if file else 0
        part = {"Range": f"bytes={there}-"} if there else {}
        response = await self._request("get_object", Key=self.prefix + key, **part)
        async with response["Body"] as body:
            while chunk := await body.read(CHUNK):
                digest.update(chunk)
                if file:
                    file.write(chunk)

    # -- inner -----------------------------------------------------------------------------------------------------

    def call(self, method: str, key: str | None, **arguments: Any) -> dict[str, Any]:
        """One request, by its name in botocore. Raises FileNotFoundError when the object is not there."""
        if key is not None:
            arguments["Key"] = self.prefix + key
        found: dict[str, Any] = self._run(key, self._request, method, **arguments)
        return found

    async def _request(self, method: str, /, **arguments: Any) -> Any:
        return await self._fs()._call_s3(method, Bucket=self.name, **arguments)

    def _run(self, key: str | None, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Run a coroutine to its end in the connection's thread."""
        where = f"{self}/{key}" if key else str(self)
        fs = self._fs()
        from fsspec.asyn import sync

        try:
            return sync(fs.loop, work, *arguments, **named)
        except Exception as error:
            code = code_of(error)
            if code in GONE:
                raise NotThereError(where, code) from None
            if not code and isinstance(error, OSError) and error.errno in REMEDIES:  # the disk, not the server
                raise
            raise trouble(error, where, self.name) from None

    def _fs(self) -> Any:
        """The connection of this process."""
        try:
            return _connection(os.getpid(), _settings())
        except ImportError:
            raise TextmillError(
                f"The store {self} needs the extra s3: pip install -c constraints.txt -e '.[s3]'."
            ) from None


def _settings() -> str:
    """What tells one set of settings in the environment from another, without holding them."""
    return text_digest("\n".join(f"{name}={value}" for name, value in sorted(os.environ.items()) if name[:4] == "AWS_"))


@lru_cache(maxsize=8)
def _connection(process: int, settings: str) -> Any:
    """Opening one takes half a second, so all buckets share it, and no process takes over that of its parent."""
    import s3fs

    fs = s3fs.S3FileSystem(config_kwargs=TIMEOUTS | {"max_pool_connections": 2 * AT_ONCE}, skip_instance_cache=True)
    fs.retries = 1  # botocore tries again itself, and waits in between
    return fs


def at_once(function: Callable[[T], R], items: Sequence[T], threads: int = AT_ONCE) -> list[R]:
    """`function` of every item, several at the same time; the first failure is raised, and what waits is left."""
    if len(items) < 2:
        return [function(one) for one in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        futures = [pool.submit(function, one) for one in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
