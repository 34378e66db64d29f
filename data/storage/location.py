"""Which bucket an address names, and where this machine keeps its copies of what lies there."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from data.digests import text_digest
from data.errors import TextmillError
from data.manifest import safe_name
from data.storage.bucket import Bucket
from data.storage.store import BucketStore

CACHE_GB = 50.0  # unless TEXTMILL_CACHE_GB says otherwise


def open_bucket(url: str, project: Path) -> BucketStore:
    """The store at `s3://bucket/prefix`.

    Work and copies lie below TEXTMILL_CACHE, else below artifacts/.remote of the project; copies take TEXTMILL_CACHE_GB
    (10**9 bytes; unset: 50). Raises TextmillError for addresses that name no such place, without showing credentials
    that stand in them. Nothing is asked of the server yet.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise TextmillError(
            "The store's address holds more than bucket and prefix, and is not shown, as that may be a secret: write "
            "s3://bucket/prefix, and put credentials into AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    names = parts.path.strip("/").split("/")
    if not parts.netloc or any(name in (".", "..") for name in names) or "" in names[1:]:
        raise TextmillError(f"The store {url!r} names no place in a bucket: write s3://bucket/prefix.")
    bucket = Bucket(parts.netloc, "/".join(names))
    home = project / Path(os.environ.get("TEXTMILL_CACHE") or "artifacts/.remote").expanduser()
    folder = f"{safe_name(str(bucket).removeprefix('s3://'))}-{text_digest(str(bucket))[:8]}"
    return BucketStore(bucket, home / folder, _cache_bytes())


def _cache_bytes() -> int:
    text = os.environ.get("TEXTMILL_CACHE_GB") or str(CACHE_GB)
    try:
        size = float(text)
        if not 0 <= size < 1e9:
            raise ValueError
    except ValueError:
        raise TextmillError(f"TEXTMILL_CACHE_GB is {text!r}: give a number of gigabytes, such as 50.") from None
    return int(size * 1e9)
