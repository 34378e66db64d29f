"""The dataset hub as a client sees it: commits, listings, and bytes of files at a commit, over plain HTTP.

Built on huggingface_hub's session, headers and errors, without its download functions: those keep a copy in a cache and
may serve that copy when the hub cannot be reached. Here nothing is ever served but what the hub answers now. Failures
that can pass (no connection, cut answers, 408, 429, 5xx) are tried again with growing, capped waits, `Retry-After`
honoured; a cut file goes on where it stopped. All else ends at once. Knows nothing of configs, splits and formats.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from data.sources.base import SourceError
from data.sources.pack import ChangedSinceLookError
from data.web.errors import shown
from data.web.pacing import PACER, Clock, back_off, retry_after

if TYPE_CHECKING:
    from httpx2 import Response

PUBLIC_HUB = "https://huggingface.co"
CONVERTED = "refs/convert/parquet"  # the branch on which the hub keeps a Parquet copy of most datasets
TRIES = 6  # in a row without a byte of progress
MAX_WAIT = 900.0  # seconds that the hub may ask for; between two tries of its own the client waits a minute at most
REQUESTS_PER_SECOND = 10.0  # the public hub lets somebody without a token have 3,000 files in 5 minutes
PARALLEL = 8
SMALL_FILE_BYTES = 4_000_000  # a README may have
_CAN_PASS = {408, 425, 429, 500, 502, 503, 504}
_TIMEOUT = 60.0  # seconds without a byte
_PATHS_AT_ONCE = 100


class NotOnHubError(SourceError):
    """A dataset, revision or file that is not there, or not for this user."""


class NoSuchEntryError(NotOnHubError):
    """A file or folder that the dataset does not have."""


class HubFailedError(SourceError):
    """The hub could not be reached, or failed time and again."""


class NoPartsError(HubFailedError):
    """The hub, or a proxy before it, serves files as a whole only."""


class _MayPassError(Exception):
    """A failure worth another try; `wait` is what the hub asks for, in seconds."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True)
class HubFile:
    """A file of a dataset.

    oid     address of its content: sha256 of a large file, git's blob id of a small one
    sha256  whether `oid` is a sha256
    commit  the last commit that touched it, which keeps its address when others move the branch; "" if not asked for
    """

    path: str
    size: int
    oid: str
    sha256: bool
    commit: str = ""


class Hub:
    """One dataset on one hub. May be used by several threads at once.

    token  sent to the hub, and to nobody that it redirects to; None asks as nobody
    """

    def __init__(self, endpoint: str, dataset: str, token: str | None = None) -> None:
        from huggingface_hub.utils._headers import build_hf_headers

        self.dataset = dataset
        self._endpoint = endpoint.rstrip("/")
        self._host = self._host_of(endpoint)
        self._api = f"{self._endpoint}/api/datasets/{dataset}"
        self._headers = build_hf_headers(
            token=token or False, library_name="textmill", library_version=version("textmill")
        )
        self._has_token = token is not None

    def commit(self, revision: str) -> str:
        """The commit that a branch, tag or commit stands for now."""
        answer = self._json("GET", f"{self._api}/revision/{quote(revision, safe='')}", f"revision {revision}")[0]
        sha = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(sha, str) or not sha:
            raise HubFailedError(f"{self._place(revision)}: the hub names no commit. Check `endpoint`.")
        return sha

    def tree(self, commit: str, folder: str = "") -> list[HubFile]:
        """All files below a folder, without their commits, by path; none where there is no such folder."""
        url = f"{self._api}/tree/{quote(commit, safe='')}" + (f"/{quote(folder, safe='')}" if folder else "")
        found: list[HubFile] = []
        next_url: str | None = f"{url}?recursive=true&expand=false"
        while next_url:
            try:
                page, link = self._json("GET", next_url, folder or "its files")
            except NoSuchEntryError:
                if folder:
                    return []
                raise
            try:
                found += _files(page)
            except (KeyError, TypeError, ValueError) as error:
                raise HubFailedError(f"{self._place('its files')}: the listing cannot be read ({error!r}).") from error
            next_url = f"{url}?{urlsplit(link).query}" if link else None  # the token goes to no other host
        return sorted(found, key=lambda file: file.path)

    def with_commits(self, commit: str, files: Sequence[HubFile]) -> list[HubFile]:
        """The files with the last commit that touched each; with `commit` where the hub does not tell."""
        url = f"{self._api}/paths-info/{quote(commit, safe='')}"
        last: dict[str, str] = {}
        for start in range(0, len(files), _PATHS_AT_ONCE):
            paths = [file.path for file in files[start : start + _PATHS_AT_ONCE]]
            answer, _ = self._json("POST", url, "its files", {"paths": paths, "expand": True})
            for entry in answer if isinstance(answer, list) else ():
                with suppress(KeyError, TypeError, AttributeError):
                    last[entry["path"]] = str(entry["lastCommit"]["id"])
        return [replace(file, commit=last.get(file.path, commit)) for file in files]

    def small_file(self, commit: str, path: str) -> bytes | None:
        """A whole small file, or None when there is none of that name."""
        for tries in count(1):
            try:
                with self._answer("GET", self._url(commit, path), path) as answer:
                    return b"".join(_limited(answer.iter_raw(), path))
            except NoSuchEntryError:
                return None
            except _MayPassError as failure:
                self._wait(failure, tries, path)
        raise AssertionError

    def read(self, file: HubFile, start: int = 0, end: int | None = None, resumes: bool = False) -> Iterator[bytes]:
        """The bytes of a file from `start` to before `end`, in chunks, gone on with where an answer is cut.

        resumes  what is before `start` was got before: where the hub serves whole files only, it comes once more

        Raises NoPartsError where the hub serves whole files only, and a part from amidst is wanted.
        """
        end = file.size if end is None else end
        at, tries = start, 1
        while at < end:
            try:
                headers = {"Range": f"bytes={at}-{end - 1}"} if (at, end) != (0, file.size) else {}
                with self._answer("GET", self._url(file.commit, file.path), file.path, headers=headers) as answer:
                    is_whole = self._check(answer, file, at, bool(headers), resumes or start == 0)
                    again = at if is_whole else 0  # bytes to come that were here before
                    for whole in answer.iter_raw():  # as it comes, so that a cut loses nothing that came
                        chunk = whole[again:]
                        again -= len(whole) - len(chunk)
                        if is_whole and at + len(chunk) >= end < file.size:
                            yield chunk[: end - at]
                            return
                        if at + len(chunk) > end:
                            raise ChangedSinceLookError(
                                f"{self._place(file.path)}: {end - start} bytes were asked for, but more came: the "
                                f"listing says {file.size} bytes. Run again."
                            )
                        if chunk:
                            at, tries = at + len(chunk), 1
                            yield chunk
                if at < end:
                    raise _MayPassError(f"the answer was cut at byte {at} of {end}")
            except _MayPassError as failure:
                self._wait(failure, tries, file.path)
                tries += 1

    def _url(self, commit: str, path: str) -> str:
        return f"{self._endpoint}/datasets/{self.dataset}/resolve/{quote(commit, safe='')}/{quote(path)}"

    def _json(self, method: str, url: str, what: str, form: Mapping[str, Any] | None = None) -> tuple[Any, str | None]:
        """An answer's JSON, and the address of the next page if there is one."""
        for tries in count(1):
            try:
                with self._answer(method, url, what, form=form) as answer:
                    answer.read()
                    link = answer.links.get("next", {}).get("url")
                    try:
                        return answer.json(), link
                    except ValueError:
                        raise _MayPassError("the answer is no JSON") from None
            except _MayPassError as failure:
                self._wait(failure, tries, what)
        raise AssertionError

    @contextmanager
    def _answer(
        self, method: str, url: str, what: str, headers: Mapping[str, str] | None = None, form: Any = None
    ) -> Iterator["Response"]:
        """An answer of 2xx, still to be read. Raises _MayPassError, also while it is read, and NotOnHubError."""
        import httpx2
        from huggingface_hub import get_session
        from huggingface_hub.errors import OfflineModeIsEnabled

        sent = {**self._headers, "Accept-Encoding": "identity", **(headers or {})}
        try:
            with (
                PACER.place(self._host, REQUESTS_PER_SECOND, PARALLEL),
                get_session().stream(method, url, headers=sent, data=form, timeout=_TIMEOUT) as answer,
            ):
                if answer.status_code in _CAN_PASS:
                    raise _MayPassError(f"it answers {answer.status_code}", _asked_wait(answer.headers, PACER.clock))
                if answer.status_code >= 400 and self._is_elsewhere(answer):  # the signature of its address expires
                    raise _MayPassError(f"its storage answers {answer.status_code}")
                if answer.status_code >= 400:
                    raise self._refusal(answer, what)
                yield answer
        except OfflineModeIsEnabled as error:
            raise HubFailedError("HF_HUB_OFFLINE is set, so the hub may not be asked. Unset it.") from error
        except httpx2.InvalidURL as error:
            raise HubFailedError(f"{self._place(what)}: {shown(self._endpoint)} is no address.") from error
        except httpx2.HTTPError as error:
            raise _MayPassError(f"{type(error).__name__}: {error}") from error
        except RuntimeError as error:
            if "closed" not in str(error):  # the session is shared by the process, and another thread may close it
                raise
            raise _MayPassError(str(error)) from error

    def _refusal(self, answer: "Response", what: str) -> SourceError:
        status, code = answer.status_code, answer.headers.get("X-Error-Code", "")
        place = self._place(what)
        who = "the token that was sent" if self._has_token else "nobody: no token is set"
        if code == "GatedRepo" or status == 403:
            return NotOnHubError(
                f"{place}: it is gated, and this user may not read it ({status} {code}; asked as {who}). Accept its "
                "terms on its page on the hub, and put a token of that account into the secret that `token` names."
            )
        if code == "RevisionNotFound":
            return NotOnHubError(f"{place}: there is no such revision. Correct `revision`.")
        if code == "EntryNotFound" or (status == 404 and not code and "/resolve/" in str(answer.url)):
            return NoSuchEntryError(f"{place}: there is no such file or folder.")
        if status in (401, 404):
            return NotOnHubError(
                f"{place}: there is no such dataset, or it is private ({status} {code}; asked as {who}). Correct `id`, "
                "or put a token that may read it into the secret that `token` names."
            )
        return HubFailedError(f"{place}: the hub answers {status} {code}".rstrip() + ". Check `endpoint`.")

    def _check(self, answer: "Response", file: HubFile, at: int, is_range: bool, may_be_whole: bool) -> bool:
        """See that an answer is what was asked for, of the file that was listed; returns whether all of it comes."""
        begins = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        is_whole = not is_range or (answer.status_code == 200 and may_be_whole)
        if not is_whole and (answer.status_code != 206 or begins != str(at)):
            raise NoPartsError(
                f"{self._place(file.path)}: the hub, or a proxy before it, does not serve parts of files "
                f"(status {answer.status_code}). Set route to file, and no max_documents."
            )
        tags = [one.headers.get("X-Linked-Etag", "") for one in (*answer.history, answer)]
        if not self._is_elsewhere(answer):
            tags.append(answer.headers.get("ETag", ""))
        tag = next(filter(None, tags), "").removeprefix("W/").strip('"')
        if len(tag) == len(file.oid) and tag != file.oid:
            raise ChangedSinceLookError(
                f"{self._place(file.path)}: the listing of commit {file.commit[:12]} names content {file.oid[:12]}, "
                f"but {tag[:12]} was served, perhaps by a stale proxy. Run again."
            )
        return is_whole

    def _is_elsewhere(self, answer: "Response") -> bool:
        """Whether the hub sent us on to a storage host, whose marks and errors say nothing of the dataset."""
        return answer.url.netloc.decode() != self._host

    def _host_of(self, endpoint: str) -> str:
        """Host and port as the session writes them, without a port that is the usual one."""
        import httpx2

        try:
            return httpx2.URL(endpoint).netloc.decode()
        except httpx2.InvalidURL as error:
            raise HubFailedError(f"{shown(endpoint)} is no address. Correct `endpoint` or HF_ENDPOINT.") from error

    def _wait(self, failure: _MayPassError, tries: int, what: str) -> None:
        if tries >= TRIES or failure.wait > MAX_WAIT:
            asked = f" It asks to wait {failure.wait:.0f} s." if failure.wait else ""
            raise HubFailedError(
                f"{self._place(what)}: {shown(self._endpoint)} failed {tries} times in a row, at last: {failure}."
                f"{asked} Run again later: what has been fetched is kept."
            ) from failure
        PACER.hold(self._host, failure.wait)
        PACER.clock.sleep(max(failure.wait, back_off(tries)))

    def _place(self, what: str) -> str:
        return f"Dataset {self.dataset}, {what}"


def _files(page: Any) -> Iterator[HubFile]:
    for entry in page if isinstance(page, list) else ():
        if isinstance(entry, dict) and entry.get("type") == "file":
            large = entry.get("lfs") or {}
            yield HubFile(entry["path"], int(entry["size"]), large.get("oid") or entry["oid"], bool(large.get("oid")))


def _limited(chunks: Iterable[bytes], path: str) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > SMALL_FILE_BYTES:
            raise SourceError(f"{path} has over {SMALL_FILE_BYTES} bytes, which is too much. Set `files`.")
        yield chunk


def _asked_wait(headers: Mapping[str, str], clock: Clock) -> float:
    """Seconds that the hub asks to wait, by Retry-After or by its own RateLimit header; 0 if it does not."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    return retry_after(headers, clock) or (float(limit.reset_in_seconds) if limit and limit.remaining == 0 else 0.0)
