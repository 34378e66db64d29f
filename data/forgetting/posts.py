"""Posts of Reddit dumps, taken out of their files, which are decompressed and compressed again as streams.

In the place of a line stays one that says nothing, so that the numbers of the others stay; where a thread needs the
place of a comment that was not shown itself, a removed one as Reddit has them: ids and time, no name and no text. What
other posts hold of a forgotten author (`link_author`, the posts that they pass on) goes from these, too; what somebody
wrote does not change. A line that cannot be read goes when it names what goes; one that is too long does in any case.
"""

import bz2
import json
import lzma
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import msgspec
import zstandard

from data.forgetting.chats import Authors, CannotSiftError, Found, Way
from data.sources.base import RawDocument
from data.sources.dumps.lines import FORGOTTEN, Line, Wrong, compression_of, mended_line, whole_lines
from data.sources.dumps.posts import DELETED, post_of
from data.sources.dumps.reading import Files, Reading
from data.sources.pack import PackedItem, PackReader

_LEVEL = 9  # of .zst: a window of 8 MB; the dumps themselves are packed tighter, and much slower
_NOTHING = msgspec.json.encode({"id": FORGOTTEN})
_FOREIGN = b'{"id":""}'  # neither comment nor submission, as the line was that it stands for
_BROKEN = b"{"
_AUTHOR = re.compile(rb'"author"\s*:\s*"([^"\\]*)"')
_NAMES = re.compile(rb'"(?:link_id|id)"\s*:\s*"(?:t3_)?([0-9a-z]+)"')
_OF_OTHERS = (b'"link_author"', b'"crosspost_parent_list"', b'"parent_author"')
_REMOVED = "[removed]"
_decode = msgspec.json.Decoder(Line).decode


class DumpLines:
    """Slots of the kind `reddit`. `_gone` are, by item and way, threads or posts: ids as documents have them."""

    quotes = False

    def __init__(self, ways: Sequence[Way], authors: Authors) -> None:
        self._ways = ways
        self._authors = authors
        self._gone: dict[str, list[set[str]]] = {}

    def search(self, reader: PackReader, items: Sequence[PackedItem]) -> set[str]:
        for item in items:
            self._gone[item.native_id] = [self._forgotten(reader, item, way) for way in self._ways]
        return {item.native_id for item in items if self._is_touched(reader, item)}

    def give_up(self, items: Collection[str]) -> None:
        """Items do not refer to each other."""

    def _forgotten(self, reader: PackReader, item: PackedItem, way: Way) -> set[str]:
        """The threads, or posts, of which all is forgotten."""
        found: set[str] = set()
        kept: set[str] = set()
        last = ""
        for _, one in self.read(reader, [item], way):
            if isinstance(one, RawDocument):
                name = one.native_id.removeprefix(f"{item.native_id}/").partition("~")[0]
                is_held = way.sieve.holds(one)
                if name == last and is_held != (name in found):  # another part of a long thread
                    kept.add(name)
                if is_held:
                    found.add(name)
                last = name
        return found - kept

    def _is_touched(self, reader: PackReader, item: PackedItem) -> bool:
        files = Files(reader.chunks(item))
        for name, size, _ in item.meta["files"]:
            for lines in whole_lines(files.take(size), compression_of(name), Wrong()):
                if any(self._line(line, item) is not line for line in lines.split(b"\n")[:-1]):
                    return True
            files.skip()
        return False

    def sifted(self, reader: PackReader, item: PackedItem) -> tuple[PackedItem, Iterable[bytes]]:
        files: list[list[Any]] = []
        return replace(item, meta={**item.meta, "files": files}), self._without(reader, item, files)

    def _without(self, reader: PackReader, item: PackedItem, files: list[list[Any]]) -> Iterator[bytes]:
        """The new bytes of an item's files; `files` gets their new sizes."""
        taken = Files(reader.chunks(item))
        for name, size, fingerprint in item.meta["files"]:
            wrong = Wrong()
            packer = _packer(compression_of(name))
            new_size = 0
            for lines in whole_lines(taken.take(size), compression_of(name), wrong):
                new = [self._line(line, item) for line in lines.split(b"\n")[:-1]]
                data = packer.compress(b"\n".join(new) + b"\n")
                new_size += len(data)
                yield data
            if wrong.stopped:
                raise CannotSiftError(f"{name}: {wrong.stopped.why}")
            data = packer.flush()
            files.append([name, new_size + len(data), fingerprint])
            yield data
            taken.skip()

    def _line(self, line: bytes, item: PackedItem) -> bytes:
        """A line without what goes; the same object where it holds nothing of it."""
        try:
            post: Line | None = _decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            post = mended_line(line) if line.strip(b" \t\r\0") else None
        if post is None:
            return _BROKEN if line != _BROKEN and self._names_what_goes(line, item) else line
        is_forgotten = self._is_forgotten(post.author)
        if (post.body is None or post.link_id is None) and post.title is None:
            return _FOREIGN if is_forgotten else line
        read = [post_of(post, way.identity.get("minimum_score")) for way in self._ways]
        gone = [
            _key(post, way) in names for way, names in zip(self._ways, self._gone[item.native_id], strict=True)
        ]  # fmt: skip
        in_others = any(
            one is not None and not one.dropped and _reads(way, post) and not is_gone
            for one, way, is_gone in zip(read, self._ways, gone, strict=True)
        )
        if any(gone) and not in_others:
            return _NOTHING
        if not is_forgotten:
            return self._without_others(line)
        if all(is_gone or way.identity["as"] == "posts" for is_gone, way in zip(gone, self._ways, strict=True)):
            return _NOTHING
        is_low = all(one is not None and one.dropped == "low_score" for one in read)
        return _removed(post, is_low)

    def _names_what_goes(self, line: bytes, item: PackedItem) -> bool:
        authors = [name.decode("utf-8", "replace") for name in _AUTHOR.findall(line)]
        if any(map(self._is_forgotten, authors)):
            return True
        ids = {kind + name.decode() for name in _NAMES.findall(line) for kind in ("t1_", "t3_")}
        return any(not ids.isdisjoint(gone) for gone in self._gone[item.native_id])

    def _without_others(self, line: bytes) -> bytes:
        """A post that stays, without what it holds of forgotten authors."""
        if not self._authors.hashes or not any(name in line for name in _OF_OTHERS):
            return line
        try:
            post = json.loads(line)
        except (ValueError, RecursionError):
            return line
        changed = False
        for name in ("link_author", "parent_author"):
            if self._is_forgotten(post.get(name)):
                post[name] = None
                changed = True
        passed_on = post.get("crosspost_parent_list")
        if isinstance(passed_on, list):
            kept = [one for one in passed_on if not (isinstance(one, dict) and self._is_forgotten(one.get("author")))]
            changed = changed or len(kept) < len(passed_on)
            post["crosspost_parent_list"] = kept
        return json.dumps(post, separators=(",", ":")).encode() if changed else line

    def _is_forgotten(self, name: Any) -> bool:
        return isinstance(name, str) and (self._authors.hold(name) or self._authors.hold(name.lower()))

    def read(
        self, reader: PackReader, items: Sequence[PackedItem], way: Way, unquoted: bool = False
    ) -> Iterator[Found]:
        for item in items:
            identity = way.identity
            reading = Reading(
                way.names,
                identity["as"] == "threads",
                identity["subreddits"],
                identity["minimum_score"],
                identity["maximum_depth"],
            )
            for one in reading.documents(item, reader.chunks(item)):
                yield item.native_id, one


def _key(post: Line, way: Way) -> str:
    """The document to which a post belongs, without its item."""
    is_comment = post.body is not None and post.link_id is not None
    if way.identity["as"] == "posts":
        return f"{'t1' if is_comment else 't3'}_{post.id}"
    return f"t3_{(post.link_id or '').removeprefix('t3_') if is_comment else post.id}"


def _reads(way: Way, post: Line) -> bool:
    """Whether a way of reading takes posts of this subreddit."""
    return not way.identity["subreddits"] or (post.subreddit or "").lower() in way.identity["subreddits"]


def _removed(post: Line, is_low: bool) -> bytes:
    """What keeps a thread together where a post was; `is_low`: the thread is left out for its submission's score."""
    said = {"id": post.id, "author": DELETED, "subreddit": post.subreddit, "created_utc": post.created_utc}
    if post.body is not None and post.link_id is not None:
        said |= {"link_id": post.link_id, "parent_id": post.parent_id, "body": _REMOVED}
    else:
        said |= {"title": FORGOTTEN if is_low else _REMOVED, "selftext": ""}
    return msgspec.json.encode(said | ({"score": post.score} if is_low else {}))


class _Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _packer(compression: str | None) -> _Packer:
    """What compresses a file anew."""
    if compression == ".zst":
        packer: _Packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    elif compression == ".gz":
        packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    elif compression == ".bz2":
        packer = bz2.BZ2Compressor()
    elif compression == ".xz":
        packer = lzma.LZMACompressor()
    else:
        packer = _Plain()
    return packer
