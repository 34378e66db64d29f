"""What of a Reddit dump's post is used, and why others are not: text unescaped once, people under other names.

Knows nothing of files and threads.
"""

import html
import re
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from data.sources.chats.pseudonyms import Names
from data.sources.dumps.lines import Line

DELETED = "[deleted]"
_GONE = {
    "[deleted]": "deleted",
    "[deleted by user]": "deleted",
    "[removed]": "removed",
    "[removed by reddit]": "removed",
    "[ removed by reddit ]": "removed",
}
_LONGEST_GONE = 40  # characters, with some space around it
_BOT_NAMES = frozenset(
    [
        *("autotldr", "b0trank", "gifreversingbot", "gfycat_details_fixer", "haikubot-1911", "imguralbumbot"),
        *("remindmebot", "sneakpeekbot", "stabbot", "totesmessenger", "tweetposter", "twitterlinkbot"),
        *("useles-converter-bot", "wikipediasummary", "wikitextbot", "wikisummarizerbot", "youtubefactsbot"),
    ]
)
_BOT_NAME = re.compile(r"[a-z0-9]Bot$|[-_][Bb]ot$|BOT$|^[Bb]ot[-_]")
_BOT_TEXT = re.compile(r"\bI(?:'|&#39;|’| a)m a bot\b|^beep boop\b", re.I)
_PERSON = re.compile(r"(?<![\w/])(/?u/)([A-Za-z0-9_-]{3,20})(?![\w-])")
_DIGITS = tuple(f"{number:02d}" for number in range(60))
_LARGEST = 1 << 63  # score; files of posts hold no larger number
_LATEST = 32_503_680_000  # the year 3000, seconds since the epoch


class Post(msgspec.Struct, array_like=True, gc=False):
    """A comment or a submission.

    link     id of the submission it belongs to, its own if it is one; without t3_
    id       its own, without prefix
    parent   id of the comment that it answers, "" if it is none or answers the submission
    created  seconds since the epoch, 0 if unknown
    text     unescaped; of a submission the title and an empty line come first
    dropped  why it is not used, "" if it is; then text is empty, and it only keeps the thread together
    """

    link: str
    id: str
    parent: str
    is_submission: bool
    author: str
    subreddit: str
    created: int
    score: int | None
    text: str
    dropped: str


def post_of(line: Line, minimum_score: int | None) -> Post | None:
    """The post on a line; None if its ids are none."""
    body, author, native_id = line.body, line.author or DELETED, line.id
    dropped = ""
    if body is not None and line.link_id is not None:
        link, parent, is_submission = line.link_id.removeprefix("t3_"), line.parent_id or "", False
        parent = parent[3:] if parent.startswith("t1_") else ""
        if len(body) <= _LONGEST_GONE:
            dropped = _GONE.get(body.strip().lower(), "")
    else:
        link, parent, is_submission = native_id, "", True
        title, body = line.title or "", line.selftext or ""
        dropped = _GONE.get(body.strip().lower(), "") or _GONE.get(title.strip().lower(), "")
        body = f"{title.strip()}\n\n{body}"
    if not (link.isalnum() and native_id.isalnum()):
        return None
    text = (unescaped(body) if "&" in body else body).strip("\r\n").rstrip()
    if not dropped:
        dropped = _bot(author, body) if text else "empty"
    score, created = line.score, line.created_utc
    if type(score) is not int or not -_LARGEST < score < _LARGEST:
        score = None
    elif not dropped and minimum_score is not None and score < minimum_score:
        dropped = "low_score"
    if type(created) is not int:
        created = _seconds(created)
    if not 0 <= created < _LATEST:
        created = 0
    if dropped:
        text = ""
    return Post(link, native_id, parent, is_submission, author, line.subreddit or "", created, score, text, dropped)


def unescaped(text: str) -> str:
    """As `html.unescape`, at a fraction of its cost where there is nothing but what Reddit itself escapes."""
    escapes = text.count("&")
    if escapes == text.count("&gt;"):
        return text.replace("&gt;", ">")
    if escapes == text.count("&gt;") + text.count("&lt;") + text.count("&amp;"):
        return text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
    return html.unescape(text)


def _bot(author: str, body: str) -> str:
    if author == "AutoModerator":
        return author
    says_so = ("bot" in body or "boop" in body) and _BOT_TEXT.search(body)
    return "bot" if says_so or _is_bot_name(author) else ""


@lru_cache(maxsize=50_000)
def _is_bot_name(author: str) -> bool:
    return author.lower() in _BOT_NAMES or bool(_BOT_NAME.search(author))


def _seconds(created: int | float | str | None) -> int:
    try:
        return int(float(created)) if created is not None else 0
    except (ValueError, OverflowError):
        return 0


def iso(created: int) -> str | None:
    """A post's time in ISO 8601, None if it is unknown."""
    if not created:
        return None
    day, second = divmod(created, 86_400)
    return f"{_date(day)}T{_DIGITS[second // 3600]}:{_DIGITS[second // 60 % 60]}:{_DIGITS[second % 60]}+00:00"


@lru_cache(maxsize=1000)
def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def name_of(author: str, names: Names) -> str:
    """The name under which an author is shown; case does not tell authors apart."""
    return author if author == DELETED else names.name(author.lower())


def without_users(text: str, names: Names) -> str:
    """`text` with other names for the people that it mentions as u/name."""
    if "u/" not in text:
        return text
    return _PERSON.sub(lambda match: match[1] + names.name(match[2].lower()), text)
