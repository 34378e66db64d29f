"""Posts of Reddit dumps, taken out of their files, which are decompressed and compressed again as streams.

In the place of a line stays one that says nothing, so that the numbers of the others stay; where a thread needs the
place of a comment that was not shown itself, a removed one as Reddit has them: ids and time, no name and no text. What
other posts hold of a forgotten author (`link_author`, the posts that they pass on) goes from these, too; what somebody
wrote does not change. A line that cannot be read goes when it names what goes; one that is too long does in any case.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from data.forgetting.chats import Authors, CannotSiftError, NothingGoesError, Way
from data.forgetting.named import authors_in, ids_in, names_others
from data.forgetting.packing import packer_for
from data.forgetting.sums import ID_BYTES, Found, Sums
from data.sources.base import RawDocument
from data.sources.dumps.lines import FORGOTTEN, Line, Wrong, all_lines, compression_of, mended_line, whole_lines
from data.sources.dumps.posts import DELETED, post_of
from data.sources.dumps.reading import Files, Reading
from data.sources.pack import PackedItem, PackReader

_NOTHING = msgspec.json.encode({"id": FORGOTTEN})
_FOREIGN = b'{"id":""}'  # neither comment nor submission, as the line was that it stands for
_BROKEN = b"{"
_REMOVED = "[removed]"
_decode = msgspec.json.Decoder(Line).decode


class DumpLines:
    """Slots of the kind `reddit`. `_gone` are, by item and way, threads or posts: ids as documents have them."""

    def __init__(self, ways: Sequence[Way], authors: Authors) -> None:
        self.ways = ways
        self._authors = authors
        self._gone: dict[str, list[set[str]]] = {}
        self.sums: list[Sums] = []
        self.has_seen_everyone = True

    def search(self, reader: PackReader, items: Sequence[PackedItem]) -> set[str]:
        self.sums = [Sums(way.sieve) for way in self.ways]
        touched = set()
        for item in items:
            is_named = False

            def look(lines: bytes) -> None:
                nonlocal is_named
                is_named = self._names_forgotten(lines) or is_named  # all names are looked at

            self._gone[item.native_id] = [
                self._forgotten(reader, item, number, None if number else look) for number in range(len(self.ways))
            ]
            if is_named or any(self._gone[item.native_id]):
                touched.add(item.native_id)
        return touched

    def held_bytes(self) -> int:
        ids = sum(len(gone) for of_ways in self._gone.values() for gone in of_ways)
        return ID_BYTES * ids + sum(one.bytes() for one in self.sums)

    def expected(self, reader: PackReader, items: Sequence[PackedItem], number: int) -> Sums:
        """What it was read as already: of threads and posts that stay nothing changes."""
        return self.sums[number]

    def give_up(self, items: Collection[str]) -> None:
        """Items do not refer to each other."""

    def _forgotten(
        self, reader: PackReader, item: PackedItem, number: int, look: Callable[[bytes], None] | None
    ) -> set[str]:
        """The threads, or posts, of which all is forgotten in the way with this number."""
        found: set[str] = set()
        kept: set[str] = set()
        last = ""
        for _, one in self._read(reader, [item], self.ways[number], look):
            is_held = self.sums[number].add(item.native_id, one)
            if isinstance(one, RawDocument):
                name = one.native_id.removeprefix(f"{item.native_id}/").partition("~")[0]
                if name == last and is_held != (name in found):  # another part of a long thread
                    kept.add(name)
                if is_held:
                    found.add(name)
                last = name
        return found - kept

    def _names_forgotten(self, lines: bytes) -> bool:
        """Whether lines name a forgotten author as one, be it of another post that they hold."""
        found = [self._is_forgotten(name) for name in authors_in(lines)]
        return any(found)

    def sifted(self, reader: PackReader, item: PackedItem) -> tuple[PackedItem, Iterable[bytes]]:
        files: list[list[Any]] = []
        return replace(item, meta={**item.meta, "files": files}), self._without(reader, item, files)

    def _without(self, reader: PackReader, item: PackedItem, files: list[list[Any]]) -> Iterator[bytes]:
        """The new bytes of an item's files; `files` gets their new sizes."""
        taken = Files(reader.chunks(item))
        is_same = True
        for name, size, fingerprint in item.meta["files"]:
            wrong = Wrong()
            packer = packer_for(compression_of(name))
            new_size = 0
            for lines in whole_lines(taken.take(size), compression_of(name), wrong):
                new = self._sifted(lines, item)
                is_same = is_same and new == lines
                data = packer.compress(new)
                new_size += len(data)
                yield data
            if wrong.stopped:
                raise CannotSiftError(f"{name}: {wrong.stopped.why}")
            data = packer.flush()
            files.append([name, new_size + len(data), fingerprint])
            yield data
            taken.skip()
        if is_same:
            raise NothingGoesError(item.native_id)

    def _sifted(self, text: bytes, item: PackedItem) -> bytes:
        """Many lines without what goes."""
        posts = all_lines(text)
        if posts is None:
            return b"\n".join([self._line(line, item) for line in text.split(b"\n")[:-1]]) + b"\n"
        gone = list(zip(self.ways, self._gone[item.native_id], strict=True))
        is_named = self._names_forgotten(text)
        places = [
            place
            for place, post in enumerate(posts)
            if (is_named and self._is_forgotten(post.author)) or any(_key(post, way) in names for way, names in gone)
        ]
        if not places and not (is_named and names_others(text)):
            return text
        lines = text.split(b"\n")
        if is_named:
            lines[:-1] = map(self._without_others, lines[:-1])
        for place in places:
            lines[place] = self._line(lines[place], item)
        return b"\n".join(lines)

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
        read = [post_of(post, way.identity.get("minimum_score")) for way in self.ways]
        gone = [
            _key(post, way) in names for way, names in zip(self.ways, self._gone[item.native_id], strict=True)
        ]  # fmt: skip
        in_others = any(
            one is not None and not one.dropped and _reads(way, post) and not is_gone
            for one, way, is_gone in zip(read, self.ways, gone, strict=True)
        )
        if any(gone) and not in_others:
            return _NOTHING
        if not is_forgotten:
            return self._without_others(line)
        if all(is_gone or way.identity["as"] == "posts" for is_gone, way in zip(gone, self.ways, strict=True)):
            return _NOTHING
        is_low = all(one is not None and one.dropped == "low_score" for one in read)
        return _removed(post, is_low)

    def _names_what_goes(self, line: bytes, item: PackedItem) -> bool:
        if any(map(self._is_forgotten, authors_in(line))):
            return True
        ids = ids_in(line)
        return any(not ids.isdisjoint(gone) for gone in self._gone[item.native_id])

    def _without_others(self, line: bytes) -> bytes:
        """A post that stays, without what it holds of forgotten authors."""
        if not self._authors.hashes or not names_others(line):
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

    def read(self, reader: PackReader, items: Sequence[PackedItem], way: Way) -> Iterator[Found]:
        return self._read(reader, items, way)

    def _read(
        self,
        reader: PackReader,
        items: Sequence[PackedItem],
        way: Way,
        look: Callable[[bytes], None] | None = None,
    ) -> Iterator[Found]:
        for item in items:
            identity = way.identity
            reading = Reading(
                way.names,
                identity["as"] == "threads",
                identity["subreddits"],
                identity["minimum_score"],
                identity["maximum_depth"],
                look,
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
