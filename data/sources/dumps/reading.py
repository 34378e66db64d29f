"""The documents of a fetched item of Reddit dumps: its files' lines, judged, brought together and written as text."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from data.facts import counted
from data.sources.base import Problem, RawDocument
from data.sources.chats.pseudonyms import Names
from data.sources.dumps.grouping import grouped
from data.sources.dumps.lines import Wrong, compression_of, lines_of
from data.sources.dumps.posts import DELETED, Post, iso, name_of, post_of, without_users
from data.sources.dumps.threads import Repeats, ordered, thread_texts, without_repeats
from data.sources.pack import PackedItem

_SITE = "https://www.reddit.com"


class Reading:
    """Reads one item after the other, and counts over all of them what is not used.

    The settings are those of data/sources/reddit.py; `seen` gets all lines as they stand there.
    """

    def __init__(
        self,
        names: Names,
        as_threads: bool,
        subreddits: Sequence[str],
        minimum_score: int | None,
        maximum_depth: int,
        seen: Callable[[bytes], None] | None = None,
    ) -> None:
        self._names = names
        self._as_threads = as_threads
        self._subreddits = subreddits
        self._minimum_score = minimum_score
        self._maximum_depth = maximum_depth
        self._seen = seen
        self._posts = 0
        self._dropped: Counter[str] = Counter()
        self._untitled = 0

    def documents(self, item: PackedItem, chunks: Iterator[bytes]) -> Iterator[RawDocument | Problem]:
        """The documents of an item whose bytes are `chunks`, then what was wrong with it."""
        wrong = [(str(name), Wrong()) for name, _, _ in item.meta["files"]]
        repeats = Repeats()
        for group in grouped(self._read(item, chunks, wrong), self._as_threads):
            posts = without_repeats(group, repeats)
            for post in posts:
                if post.dropped:
                    self._dropped[post.dropped] += 1
            yield from self._thread(item, posts) if self._as_threads else self._singles(item, posts)
        for name, one in wrong:
            yield from one.problems(name)
        if repeats.count:
            yield Problem("repeated", item.native_id, str(repeats), repeats.count)

    def summary(self) -> str:
        """One sentence on what became of the posts; "" if all of them are used in whole threads."""
        if not self._dropped and not self._untitled:
            return ""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self._dropped.items()))
        said = f"{counted(self._posts, 'post')} used and {self._dropped.total():,} dropped"
        said += f": {reasons}" if reasons else ""
        if self._untitled:
            said += f"; {counted(self._untitled, 'thread')} of comments only, whose submission is not in the same item"
        return said

    def _read(self, item: PackedItem, chunks: Iterator[bytes], wrong: list[tuple[str, Wrong]]) -> Iterator[list[Post]]:
        files = Files(chunks)
        for (name, size, _), (_, one) in zip(item.meta["files"], wrong, strict=True):
            for lines in lines_of(files.take(size), compression_of(name), self._subreddits, one, self._seen):
                found = [post_of(line, self._minimum_score) for line in lines]
                posts = [post for post in found if post is not None]
                if len(posts) < len(found):
                    self._dropped["without_id"] += len(found) - len(posts)
                yield posts
            files.skip()

    def _thread(self, item: PackedItem, posts: list[Post]) -> Iterator[RawDocument]:
        submission, comments = None, []
        for post in posts:
            if not post.is_submission:
                comments.append(post)
            elif submission is None:
                submission = post
        if submission is not None and submission.dropped == "low_score":
            self._dropped["low_score"] += sum(not post.dropped for post in comments)
            return
        told = ordered(comments, self._maximum_depth, self._dropped)
        head = None if submission is None or submission.dropped else submission
        shown = ([head] if head else []) + [post for post, _ in told]
        if not shown:
            return
        self._posts += len(shown)
        self._untitled += submission is None
        self._names.begin()
        called = {author: name_of(author, self._names) for author in dict.fromkeys([post.author for post in shown])}
        authors = tuple(dict.fromkeys([name for author, name in called.items() if author != DELETED]))
        first = shown[0]
        meta = {"subreddit": first.subreddit, "comments": len(told), "look": item.look}
        if head is not None:
            meta["score"] = head.score
        link = first.link
        for part, text in enumerate(thread_texts(head, told, called, self._names), 1):
            yield _document(
                item,
                f"t3_{link}" + (f"~{part}" if part > 1 else ""),
                text,
                authors,
                f"{_SITE}/comments/{link}",
                head.created if head else min(post.created for post in shown),
                meta,
            )

    def _singles(self, item: PackedItem, posts: list[Post]) -> Iterator[RawDocument]:
        for post in posts:
            if post.dropped:
                continue
            self._posts += 1
            self._names.begin()
            yield _document(
                item,
                f"{'t3' if post.is_submission else 't1'}_{post.id}",
                without_users(post.text, self._names),
                () if post.author == DELETED else (name_of(post.author, self._names),),
                f"{_SITE}/comments/{post.link}" + ("" if post.is_submission else f"/_/{post.id}"),
                post.created,
                {"subreddit": post.subreddit, "score": post.score, "look": item.look},
            )


class Files:
    """The files of an item, whose bytes come in one stream of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""
        self._left = 0

    def take(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, in chunks; to be followed by `skip`."""
        self._left = size
        while self._left:
            chunk = self._held or next(self._chunks, b"")
            if not chunk:
                return
            part, self._held = chunk[: self._left], chunk[self._left :]
            self._left -= len(part)
            yield part

    def skip(self) -> None:
        """Pass over what has not been taken of the file."""
        for _ in self.take(self._left):
            pass


def _document(
    item: PackedItem,
    native_id: str,
    text: str,
    authors: tuple[str, ...],
    url: str,
    created: int,
    meta: dict[str, Any],
) -> RawDocument:
    return RawDocument(
        f"{item.native_id}/{native_id}",
        text,
        authors=authors,
        url=url,
        created=iso(created),
        meta=meta,
        position={"offset": item.offset, "item": item.native_id},
    )
