"""Discord's REST API over real HTTP on the loopback: channels and their messages, behind buckets and a global limit.

Time is what `clock` says, so that tests with a clock of their own see limits reset without waiting. Whoever asks too
often gets 429 and is counted in `refused`, as is whoever gets 401, 403 or 404.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

EPOCH_MS = 1_420_070_400_000


def snowflake(milliseconds, number=0):
    """An id of that time."""
    return str(((milliseconds - EPOCH_MS) << 22) + number)


def message(milliseconds, text, author="300000000000000001", number=0, **more):
    """A message object with the keys that matter, and some that do not."""
    return {
        "type": 0,
        "content": text,
        "id": snowflake(milliseconds, number),
        "author": {"id": author, "username": f"name of {author}", "global_name": None},
        "attachments": [],
        "embeds": [],
        "edited_timestamp": None,
        **more,
    }


class DiscordServer(ThreadingHTTPServer):
    """Use as a context manager; `api` is its address. A bucket gives `bucket_limit` requests in `bucket_seconds`."""

    daemon_threads = True

    def __init__(self, token, channels, clock=time.monotonic, bucket_limit=5, bucket_seconds=5.0, global_limit=50):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.channels = {channel: list(messages) for channel, messages in channels.items()}
        self.hidden = set()  # channels that the bot may not see
        self.clock = clock
        self.bucket_limit, self.bucket_seconds, self.global_limit = bucket_limit, bucket_seconds, global_limit
        self.requests = []  # path and query of each
        self.refused = []  # status of each answer that counts against the address
        self.failures = []
        self.on_messages = lambda: None  # called when messages are asked for
        self._buckets, self._second = {}, []
        self._lock = threading.Lock()

    @property
    def api(self):
        return f"http://127.0.0.1:{self.server_port}/api/v10"

    def fail(self, status, body, headers=()):
        """Answer the next request like this; a dict as body is sent as JSON."""
        self.failures.append((status, body, dict(headers)))

    def say(self, channel, *messages):
        self.channels[channel] = sorted([*self.channels[channel], *messages], key=lambda one: int(one["id"]))

    def asked_for_messages(self):
        """The queries for messages, in order."""
        return [query for path, query in self.requests if path.endswith("/messages")]

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def take(self, bucket):
        """Headers that tell of a bucket after one more request, and whether that was too much, and for all or one."""
        now = self.clock()
        with self._lock:
            self._second = [at for at in self._second if at > now - 1 + 1e-6]
            if len(self._second) >= self.global_limit:
                return {}, "global"
            begun, used = self._buckets.get(bucket, (now, 0))
            if now >= begun + self.bucket_seconds:
                begun, used = now, 0
            self._buckets[bucket] = (begun, used + 1)
            self._second.append(now)
            headers = {
                "X-RateLimit-Limit": str(self.bucket_limit),
                "X-RateLimit-Remaining": str(max(0, self.bucket_limit - used - 1)),
                "X-RateLimit-Reset-After": f"{begun + self.bucket_seconds - now:.3f}",
                "X-RateLimit-Bucket": f"hash-of-{bucket[0]}",
            }
            return headers, "user" if used >= self.bucket_limit else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go out one after the other, without waiting in between

    def do_GET(self):
        discord = self.server
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        discord.requests.append((url.path, query))
        if discord.failures:
            return self.answer(*discord.failures.pop(0))
        if self.headers["Authorization"] != f"Bot {discord.token}":
            return self.answer(401, {"message": "401: Unauthorized", "code": 0})
        match url.path.removeprefix("/api/v10/").split("/"):
            case ["channels", channel]:
                route, is_list = "channel", False
            case ["channels", channel, "messages"]:
                route, is_list = "messages", True
            case _:
                return self.answer(404, {"message": "404: Not Found", "code": 0})
        headers, exceeded = discord.take((route, channel))
        if exceeded == "global":
            body = {"message": "You are being rate limited.", "retry_after": 0.6, "global": True}
            scope = {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"}
            return self.answer(429, body, {"Retry-After": "1", **scope})
        if exceeded:
            wait = float(headers["X-RateLimit-Reset-After"])
            body = {"message": "You are being rate limited.", "retry_after": wait, "global": False}
            return self.answer(429, body, {**headers, "Retry-After": str(int(wait) + 1), "X-RateLimit-Scope": "user"})
        if channel not in discord.channels:
            return self.answer(404, {"message": "Unknown Channel", "code": 10003}, headers)
        if channel in discord.hidden:
            return self.answer(403, {"message": "Missing Access", "code": 50001}, headers)
        messages = discord.channels[channel]
        if not is_list:
            last = messages[-1]["id"] if messages else None
            about = {"id": channel, "type": 0, "guild_id": "800000000000000001", "last_message_id": last}
            return self.answer(200, about, headers)
        discord.on_messages()
        return self.answer(200, _page(discord.channels[channel], query), headers)

    def answer(self, status, body, headers=()):
        if status in (401, 403, 404, 429):
            self.server.refused.append(status)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **dict(headers)}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Tests print nothing."""


def _page(messages, query):
    """What Discord gives: newest first; after an id the first ones behind it, otherwise the last ones."""
    limit = min(100, int(query.get("limit", 50)))
    if "after" in query:
        found = [one for one in messages if int(one["id"]) > int(query["after"])][:limit]
    else:
        before = int(query.get("before", 1 << 64))
        found = [one for one in messages if int(one["id"]) < before][-limit:]
    return found[::-1]
