"""Reddit dumps as they come, for tests."""

import json

import zstandard

from data.sources.reddit import RedditConfig
from tests.source_runs import SourceRuns


def submission(native_id="s1", title="A title", selftext="Some text.", author="ann", **more):
    return {
        "id": native_id,
        "title": title,
        "selftext": selftext,
        "author": author,
        "subreddit": "Example",
        "created_utc": 1_700_000_000,
        "score": 10,
        "is_self": True,
        "over_18": False,
    } | more


def comment(native_id, body="A comment.", parent="t3_s1", link="t3_s1", author="bob", **more):
    return {
        "id": native_id,
        "body": body,
        "link_id": link,
        "parent_id": parent,
        "author": author,
        "subreddit": "Example",
        "created_utc": 1_700_000_100,
        "score": 5,
        "edited": False,
        "_meta": {"retrieved_2nd_on": 1},
    } | more


def lines(*posts):
    return b"".join(json.dumps(post, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for post in posts)


def dump(*posts, window_log=31):
    """A .zst file as the dumps are, with a window of 2 GiB unless said."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log, enable_ldm=False)
    data = lines(*posts)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return writer.compress(data[: len(data) // 2]) + writer.compress(data[len(data) // 2 :]) + writer.flush()


def reddit_runs(root, **settings):
    """Runs of the source over the folder `dumps` below `root`."""
    return SourceRuns(root, RedditConfig(**{"path": "dumps", **settings}), again=True)
