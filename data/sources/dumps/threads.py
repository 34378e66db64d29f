"""Threads as text: posts in the order in which they are read, with the names of those who wrote them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from operator import lt

from data.facts import counted
from data.sources.chats.pseudonyms import Names
from data.sources.dumps.posts import Post, without_users

DOCUMENT_CHARACTERS = 1_000_000  # a longer thread is cut between comments
_NAMED = 5  # repeated posts named in one problem
_NAMES_HELD = 1_000


class Repeats:
    """Posts that come again: how many, and the first few by name."""

    def __init__(self) -> None:
        self.count = 0
        self._names: list[str] = []

    def add(self, post: Post) -> None:
        self.count += 1
        self._names.append(f"{'t3' if post.is_submission else 't1'}_{post.id}")
        if len(self._names) > _NAMES_HELD:
            self._names = sorted(self._names)[:_NAMED]

    def __str__(self) -> str:
        more = "..." if self.count > _NAMED else ""
        return (
            f"{counted(self.count, 'post')} appearing more than once: {', '.join(sorted(self._names)[:_NAMED])}{more}"
        )


def without_repeats(group: list[Post], repeats: Repeats) -> list[Post]:
    """A group with each post once, the first one; the others go to `repeats`."""
    if len({post.id for post in group}) == len(group):
        return group
    kept: dict[tuple[bool, str], Post] = {}
    for post in group:
        if kept.setdefault((post.is_submission, post.id), post) is not post:
            repeats.add(post)
    return list(kept.values())


def _by_time(posts: list[Post]) -> list[Post]:
    times = [post.created for post in posts]
    if all(map(lt, times, times[1:])):  # as nearly always
        return posts
    return sorted(posts, key=lambda post: (post.created, len(post.id), post.id))


def ordered(posts: list[Post], maximum_depth: int, dropped: Counter[str]) -> list[tuple[Post, Post | None]]:
    """The comments of a thread as they are read: each after the one that it answers, answers by time.

    A comment that answers one that is dropped stands where that would have stood; one whose parent is not there, or
    answers itself in a circle, stands at the top. Returns (comment, the comment that it answers, if that is there).
    Comments more than `maximum_depth` answers deep go to `dropped` as too_deep.
    """
    comments = {post.id: post for post in _by_time(posts)}
    answers: dict[str, list[Post]] = {}
    tops: list[Post] = []
    for post in comments.values():
        if post.parent in comments and post.parent != post.id:
            answers.setdefault(post.parent, []).append(post)
        else:
            tops.append(post)
    found: list[tuple[Post, Post | None]] = []
    seen: set[str] = set()

    def tell(tops: list[Post]) -> None:
        waiting: list[tuple[Post, Post | None, int]] = [(top, None, 1) for top in reversed(tops)]
        while waiting:
            post, parent, depth = waiting.pop()
            if post.id in seen:
                continue
            seen.add(post.id)
            if not post.dropped:
                if depth <= maximum_depth:
                    found.append((post, parent))
                else:
                    dropped["too_deep"] += 1
                parent, depth = post, depth + 1
            if post.id in answers:
                waiting += [(answer, parent, depth) for answer in reversed(answers[post.id])]

    tell(tops)
    if len(seen) < len(comments):  # answers in a circle
        tell(list(comments.values()))
    return found


def thread_texts(
    submission: Post | None, comments: list[tuple[Post, Post | None]], called: Mapping[str, str], names: Names
) -> Iterator[str]:
    """A thread as text, in parts of at most `DOCUMENT_CHARACTERS` or one post: title, submission, comments.

    called  the names of those who wrote them, by author
    names   for the people whom they mention
    """
    part: list[str] = []
    size = 0
    for paragraph in _paragraphs(submission, comments, called, names):
        if part and size + len(paragraph) > DOCUMENT_CHARACTERS:
            yield "\n\n".join(part)
            part, size = [], 0
        part.append(paragraph)
        size += len(paragraph) + 2
    if part:
        yield "\n\n".join(part)


def _paragraphs(
    submission: Post | None, comments: list[tuple[Post, Post | None]], called: Mapping[str, str], names: Names
) -> Iterator[str]:
    if submission is not None:
        title, _, text = without_users(submission.text, names).partition("\n\n")
        yield title.strip()
        if text.strip():
            yield _said(called[submission.author], text.strip("\r\n").rstrip())
    for post, parent in comments:
        who = called[post.author] if parent is None else f"{called[post.author]} (to {called[parent.author]})"
        yield _said(who, without_users(post.text, names) if "u/" in post.text else post.text)


def _said(who: str, text: str) -> str:
    """Indented text, which is code, keeps its lines."""
    return f"{who}:\n{text}" if text[:1].isspace() else f"{who}: {text}"
