"""Room on the disks of the store, of scratch files and of Prefect's home; who may write there; what dead runs left."""

import fcntl
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from data.errors import TextmillError
from data.locks import is_held
from data.manifest import Manifest, ref_in
from data.replacing import ASIDE
from data.store import Store
from flows.doctor.finding import Finding, fail, ok, warn
from flows.sizes import size

LEAST_FREE = 100_000_000  # bytes, below which a run of any use fails
NAMED = 3  # unfinished works that are named
LAST_FIRST = ("report", "model", "plan", "tokens", "tokenizer", "corpus", "documents", "raw")
AHEAD = 60.0  # seconds that an artifact may be dated after now
MOVE = "free space there, or point TEXTMILL_STORE at another disk"


def check_disks(places: Mapping[str, Path], last_run: int) -> list[Finding]:
    """Free space where runs write, `places` by name; one finding for places on one disk.

    last_run  bytes of all that the newest result rests on, which a run from scratch writes again; 0: none so far
    """
    disks: dict[int, list[str]] = {}
    for name, path in places.items():
        disks.setdefault(os.stat(_existing(path)).st_dev, []).append(name)
    findings = []
    for names in disks.values():
        path = _existing(places[names[0]])
        free = shutil.disk_usage(path).free
        check, what = f"disk of {', '.join(names)}", f"{size(free)} free at {path}"
        if free < LEAST_FREE:
            findings.append(fail(check, f"{what}, which is less than {size(LEAST_FREE)}", MOVE))
        elif "store" in names and free < last_run:
            remedy = f"{MOVE}; a run that reuses what is there needs less"
            findings.append(warn(check, f"{what}, but all of the last run takes {size(last_run)}", remedy))
        else:
            compared = f"; all of the last run took {size(last_run)}" if "store" in names and last_run else ""
            findings.append(ok(check, what + compared))
    return findings


def last_run_bytes(store: Store) -> int:
    """Bytes of the newest result and of everything that it was made from; 0 in an empty store."""
    newest = newest_manifest(store)
    waiting, seen, total = [newest] if newest else [], set(), 0
    while waiting:
        manifest = waiting.pop()
        total += sum(entry.bytes for entry in manifest.files.values())
        for text in manifest.inputs:
            if text not in seen:
                seen.add(text)
                try:
                    waiting.append(store.manifest(ref_in(text)))
                except TextmillError:
                    continue  # deleted since: the next run builds it again
    return total


def newest_manifest(store: Store) -> Manifest | None:
    """The last manifest of the last stage that the store has anything of."""
    for stage in LAST_FIRST:
        *_, newest = [None, *store.manifests(stage)]
        if newest is not None:
            return newest
    return None


def check_writable(name: str, path: Path, user: int | None = None) -> Finding:
    """Whether files can be made and locked in a folder, and whose it is."""
    user = os.geteuid() if user is None else user
    check, there = f"permissions of {name}", _existing(path)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        remedy = f"change owner or mode of {there}, mount it writable, or choose another folder"
        return fail(check, f"{there} cannot be written to or locked: {error.strerror}", remedy)
    owner = os.stat(there).st_uid
    if owner != user:
        return warn(
            check,
            f"{there} belongs to {_who(owner)}, and you are {_who(user)}: what you write there others may not change",
            f"run as {_who(owner)}, or chown -R {_who(user)} {there}",
        )
    return ok(check, f"{path} can be written to{'' if path == there else ' (it will be made)'}")


def check_leftovers(store: Store) -> Finding:
    """Unfinished work that nobody is on: what dead or stopped runs left, to be gone on with."""
    check, idle, busy = "leftovers", {}, 0
    try:
        for path, lock in _unfinished(store.root):
            free = not is_held(lock)
            busy += not free
            if free and path.is_dir():
                name = path.relative_to(store.root).as_posix()
                idle[name] = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    except FileNotFoundError:
        return ok(check, "what is there is being cleared away just now")
    except OSError as error:
        return warn(check, f"{store.root} cannot be looked through: {error.strerror}", "see the permissions above")
    running = f"; {busy} being built now" if busy else ""
    if not idle:
        return ok(check, f"nothing unfinished of runs that ended{running}")
    names = ", ".join([*idle][:NAMED]) + (f" and {len(idle) - NAMED} more" * (len(idle) > NAMED))
    return warn(
        check,
        f"{len(idle)} unfinished in {store.root} ({size(sum(idle.values()))}): {names}{running}",
        "run their recipe again and it goes on from there; `textmill gc --work 7` throws away what nobody has touched "
        "for 7 days",
    )


def _unfinished(root: Path) -> Iterator[tuple[Path, Path]]:
    """Folders of builds and of replacements that may be unfinished, each with the lock of who is at it."""
    for work in sorted(path for path in (root / "work").glob("*") if path.is_dir()):
        yield work, work.with_name(f"{work.name}.lock")
    for aside in sorted(root.glob(f"*/{ASIDE}/*")):
        stage, key = aside.parent.parent.name, aside.name.rpartition("-")[2]
        yield aside, root / "work" / f"{stage}-{key}.lock"


def check_dates(store: Store, now: datetime | None = None) -> Finding:
    """Whether the newest result is dated in the future, as it is after a clock was set back."""
    now = now or datetime.now(UTC)
    newest = newest_manifest(store)
    if newest is None:
        return ok("dates", "no results yet")
    created = datetime.fromisoformat(newest.created)
    ahead = ((created if created.tzinfo else created.replace(tzinfo=UTC)) - now).total_seconds()
    if ahead > AHEAD:
        return warn(
            "dates",
            f"{newest.ref} is dated {ahead:,.0f} s after now ({now:%Y-%m-%d %H:%M:%S} UTC): the clock was set back",
            "set the clock (timedatectl set-ntp true); keys hold no dates, only lists by date may be out of order",
        )
    return ok("dates", f"the newest result is of {created:%Y-%m-%d %H:%M} UTC")


def _existing(path: Path) -> Path:
    """The folder itself or the nearest one above it that is there."""
    return next(one for one in (path, *path.parents) if one.is_dir())


def _who(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
