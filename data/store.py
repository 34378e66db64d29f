"""The store: artifacts that appear whole or not at all, found by key.

    <stage>/<name>-<key>/        manifest.json, payload files, observed/
    work/<stage>-<key>/out/      a payload being written; thrown away unless it is published
    work/<stage>-<key>/keep/     what an unfinished build wants to find again (checkpoints, cut downloads)
    work/<stage>-<key>.lock      who is building
    refs/                        mutable state, see data/refs.py

The store knows nothing of what stages mean: a stage hands over an identity and a function that fills a folder.
`data/storage/store.py` has the same below a bucket, and says which of these methods it does in another way.
"""

import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

from data.digests import file_digest, logical_digest, payload_digest
from data.errors import TextmillError
from data.facts import Facts
from data.files import make_folder, storage_errors, sync_file, sync_folder, write_durably
from data.locks import owner_lock, owner_lock_if_free
from data.manifest import KEY_LENGTH, ArtifactRef, FileEntry, Identity, Manifest, safe_name
from data.refs import Refs
from data.verification import (
    MANIFEST,
    OBSERVED,
    Damage,
    first_missing,
    payload_files,
    require_whole,
    verify_folder,
)

log = logging.getLogger(__name__)

_RESERVED = {"work", "refs"}  # folders of the root that hold no artifacts
_LOCK = ".lock"


@dataclass(frozen=True)
class Build:
    """What a stage's function gets: `out` becomes the payload; `keep` outlives a killed build and is found again."""

    out: Path
    keep: Path

    @property
    def observed(self) -> Path:
        """Folder inside `out` for timings, metrics and logs."""
        folder = self.out / OBSERVED
        folder.mkdir(exist_ok=True)
        return folder


class Store:
    """Artifacts below one local folder. Every method may be called from several threads and processes at once.

    Every method raises StorageError when the disk refuses. `root` is the folder where this machine works, `where` what
    people call the store, and what `tasks.runtime.open_store` takes: here, both are the folder.
    """

    MENDING: ClassVar[str] = (
        "Delete the folders of these artifacts: the next run of their recipe builds them again, no others."
    )
    """What to do about damaged artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.where = str(self.root)
        self.refs = Refs(self.root / "refs")
        self._whole: set[tuple[ArtifactRef, str]] = set()  # what was hashed, or written, through this very object

    # -- finding ---------------------------------------------------------------------------------------------------

    def find(self, stage: str, keys: Iterable[str]) -> dict[str, ArtifactRef]:
        """Those of `keys` that are published and whole (every file there, in its size); one folder listing in all.

        An artifact with missing or cut files is no hit: it is logged, and built again by whoever wanted it.
        """
        folders = self._folders(stage)
        found = {}
        for key in dict.fromkeys(keys):
            if key in folders:
                try:
                    manifest = self._read_manifest(folders[key])
                    problem = first_missing(folders[key], manifest)
                except TextmillError as error:
                    problem = str(error)
                if problem:
                    log.warning("%s/%s is damaged and will be built again: %s", stage, folders[key].name, problem)
                else:
                    found[key] = manifest.ref
        return found

    def path(self, ref: ArtifactRef) -> Path:
        """The folder of an artifact; never write there."""
        folder = self.root / safe_name(ref.stage) / f"{safe_name(ref.name)}-{ref.key}"
        if folder.is_dir():
            return folder
        folders = self._folders(ref.stage)  # the name is a label: another builder may have used another one
        if ref.key not in folders:
            raise TextmillError(f"{ref} is not in the store {self.where}: run its recipe again to have it built.")
        return folders[ref.key]

    def place(self, ref: ArtifactRef) -> Path:
        """The folder that `path` will give, where the files need not lie yet; `using` brings them there."""
        return self.path(ref)

    @contextmanager
    def using(self, refs: Iterable[ArtifactRef]) -> Iterator[None]:
        """See to it that the files of `refs` lie at their `place` as long as this is open."""
        yield

    def read(self, ref: ArtifactRef, file: str) -> bytes:
        """One small file of an artifact, without bringing the others here. Raises FileNotFoundError."""
        return (self.path(ref) / file).read_bytes()

    def address(self, ref: ArtifactRef) -> str:
        """Where the artifact lies, for people."""
        return str(self.path(ref))

    def manifest(self, ref: ArtifactRef) -> Manifest:
        return self._read_manifest(self.path(ref))

    def stages(self) -> list[str]:
        """Names of the stages that have artifacts, sorted."""
        with storage_errors(self.root):
            folders = [p.name for p in self.root.iterdir() if p.is_dir()] if self.root.is_dir() else []
        return sorted(name for name in folders if name not in _RESERVED and not name.startswith("."))

    def manifests(
        self, stage: str | None = None, names: Collection[str] | None = None, strict: bool = False
    ) -> Iterator[Manifest]:
        """Manifests of all artifacts (of one stage, with one of the names), oldest first within a stage.

        Those that cannot be read are logged and left out; with `strict` the first one raises TextmillError.
        """
        for one in [stage] if stage else self.stages():
            manifests = []
            for folder in self._folders(one).values():
                if names is not None and folder.name.rpartition("-")[0] not in names:
                    continue
                try:
                    manifests.append(self._read_manifest(folder))
                except TextmillError as error:
                    if strict and folder.exists():  # and was not removed just now
                        raise
                    log.warning("%s", error)
            yield from sorted(manifests, key=lambda manifest: (manifest.created, manifest.key))

    def matching(self, text: str) -> list[tuple[str, str]]:
        """Stage and key of every artifact that `text` may mean to `resolve`."""
        return [(stage, key) for stage, _, key in self._matching(text)[0]]

    def resolve(self, text: str) -> ArtifactRef:
        """The artifact that a user means by `stage/name-key`, `name-key`, a key or the unique beginning of a key."""
        matches, begun = self._matching(text)
        if begun and not matches:
            label, _, wanted = text.rpartition("/")[2].rpartition("-")
            raise TextmillError(
                f"No artifact in {self.where} is called {label!r} and has a key beginning with {wanted!r}; by that "
                f"key there is {_joined(begun[0])}. `textmill ls` lists them."
            )
        if len(matches) != 1:
            shown = ", ".join(map(_joined, matches[:5]))
            found = f"{len(matches)} artifacts begin so ({shown})" if matches else "there is none"
            raise TextmillError(f"No single artifact {text!r} in {self.where}: {found}. `textmill ls` lists them.")
        return self.manifest(ArtifactRef(*matches[0], digest="")).ref

    def _matching(self, text: str) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
        """(stage, name, key) of every artifact that `text` fits, and of those that fit but for their name."""
        stage, _, name = text.rpartition("/")
        label, _, wanted = name.rpartition("-")
        stages = [one for one in self.stages() if stage in ("", one)]
        begun = [(one, *found) for one in stages if wanted for found in self._beginning_with(one, wanted)]
        return [found for found in begun if label in ("", found[1])], begun

    def _beginning_with(self, stage: str, start: str) -> list[tuple[str, str]]:
        """(name, key) of every artifact of a stage whose key begins with `start`."""
        folders = self._folders(stage).items()
        return [(folder.name.rpartition("-")[0], key) for key, folder in folders if key.startswith(start)]

    # -- building --------------------------------------------------------------------------------------------------

    def build(
        self,
        identity: Identity,
        name: str,
        make: Callable[[Build], Facts],
        inputs: Iterable[ArtifactRef] = (),
        refresh: bool = False,
        on_wait: Callable[[str], None] | None = None,
    ) -> ArtifactRef:
        """Publish the artifact of `identity`, filled by `make`, and return its reference.

        Somebody else building the same key is waited for and their result adopted (`on_wait` is told who it is).
        With `refresh` an existing artifact is built again; it is replaced only if the payload came out different.
        Whatever `make` raises leaves no trace but its `keep` folder.
        """
        with storage_errors(self.root):
            work = self.root / "work" / f"{safe_name(identity.stage)}-{identity.key}"
            make_folder(work.parent)
            with owner_lock(_lock_of(work), on_wait):
                if not refresh and (hit := self.find(identity.stage, [identity.key]).get(identity.key)):
                    return hit
                ref = self._make_and_publish(identity, name, make, inputs, work)
                shutil.rmtree(work, ignore_errors=True)
                self._whole.add((ref, "*"))
                return ref

    def sweep(self) -> list[str]:
        """Throw away what killed builds left and nobody can continue; returns the names. Work that can go on stays."""
        swept = []
        base = self.root / "work"
        with storage_errors(self.root):
            names = {path.name.removesuffix(_LOCK) for path in base.iterdir()} if base.is_dir() else set()
            for work in (base / name for name in sorted(names)):
                with owner_lock_if_free(_lock_of(work)) as free:  # which also removes a lock that outlived its folder
                    if free and work.is_dir() and (self._is_left_over(work) or not _has_files(work / "keep")):
                        shutil.rmtree(work, ignore_errors=True)
                        swept.append(work.name)
        return swept

    def remove(self, ref: ArtifactRef) -> bool:
        """Delete an artifact; returns whether it was there. Whoever is building it is waited for."""
        with storage_errors(self.root):
            work = self.root / "work" / f"{safe_name(ref.stage)}-{ref.key}"
            make_folder(work.parent)
            with owner_lock(_lock_of(work)):
                folder = self._folders(ref.stage).get(ref.key)
                if folder is None:
                    return False
                aside = work.parent / f"removed-{uuid.uuid4().hex[:8]}"
                with owner_lock(_lock_of(aside)):  # so that nobody sweeps it meanwhile
                    os.rename(folder, aside)
                    sync_folder(folder.parent)
                    shutil.rmtree(aside)
                return True

    def clear_work(self, is_unwanted: Callable[[Path], bool]) -> list[str]:
        """Throw away the work folders that `is_unwanted` names, unless somebody is building there; returns names."""
        cleared = []
        with storage_errors(self.root):
            for work in sorted((self.root / "work").glob("*")):
                if work.is_dir() and is_unwanted(work):
                    with owner_lock_if_free(_lock_of(work)) as free:
                        if free:
                            shutil.rmtree(work)
                            cleared.append(work.name)
        return cleared

    def clear_attempts(self, stages: Iterable[str] | None = None, older_than: float = 0.0) -> list[str]:
        """Throw away what was published of these stages (None: of all) in part only, or was replaced, and to which
        nothing was added for so many seconds; returns the places.

        Here, publishing is one step, and nothing such is left.
        """
        return []

    def _make_and_publish(
        self, identity: Identity, name: str, make: Callable[[Build], Facts], inputs: Iterable[ArtifactRef], work: Path
    ) -> ArtifactRef:
        build = Build(work / "out", work / "keep")
        shutil.rmtree(build.out, ignore_errors=True)
        build.out.mkdir(parents=True)
        build.keep.mkdir(exist_ok=True)
        try:
            started = time.perf_counter()
            facts = make(build)
            seconds = round(time.perf_counter() - started, 3)
            (build.observed / "build.json").write_text(json.dumps({"seconds": seconds}) + "\n")
            manifest = _describe(identity, safe_name(name), facts, [str(ref) for ref in inputs], build.out)
            return self._publish(build.out, manifest)
        except BaseException:
            shutil.rmtree(build.out, ignore_errors=True)
            if not _has_files(build.keep):
                shutil.rmtree(work, ignore_errors=True)
            raise  # cleaning up is not handling: the caller must still see the failure

    def _publish(self, out: Path, manifest: Manifest) -> ArtifactRef:
        """Give `out` its place in the store; returns the reference of what then lies there."""
        for path in manifest.files:
            sync_file(out / path)
        for folder, _, _ in os.walk(out):
            sync_folder(Path(folder))
        write_durably(out / MANIFEST, manifest.to_json())
        stage = self.root / safe_name(manifest.recipe.stage)
        make_folder(stage)
        final = stage / f"{manifest.name}-{manifest.key}"
        existing = self._folders(manifest.recipe.stage).get(manifest.key)
        if existing is None:
            os.rename(out, final)
        elif self._is_whole_and_equal(existing, manifest):
            shutil.rmtree(out)
            return self._read_manifest(existing).ref
        else:
            _replace(existing, out, final, self.root / "work" / f"replaced-{uuid.uuid4().hex[:8]}")
        sync_folder(stage)
        return manifest.ref

    # -- verifying -------------------------------------------------------------------------------------------------

    def verify(self, ref: ArtifactRef | None = None) -> Iterator[Damage]:
        """Hash every file of one artifact or of all; yields what is missing, changed, unknown or inconsistent."""
        folders = [self.path(ref)] if ref else [f for stage in self.stages() for f in self._folders(stage).values()]
        for folder in folders:
            yield from verify_folder(folder)

    def require_whole(self, ref: ArtifactRef, files: str = "*") -> None:
        """Raise DamagedError when a file of the artifact that `files` takes (fnmatch) is not as it was published.

        Every byte is read, once for each store object: to be asked before much work is built on it.
        """
        if not {(ref, files), (ref, "*")} & self._whole:
            require_whole(self.path(ref), files)
            self._whole.add((ref, files))

    # -- inner -----------------------------------------------------------------------------------------------------

    def _folders(self, stage: str) -> dict[str, Path]:
        """{key: folder} of everything published for a stage."""
        folder = self.root / safe_name(stage)
        try:
            with storage_errors(self.root):
                names = os.listdir(folder) if folder.is_dir() else []
        except FileNotFoundError:
            return {}
        keyed = (name.rpartition("-") for name in names)
        return {key: folder / f"{name}-{key}" for name, _, key in keyed if name and len(key) == KEY_LENGTH}

    def _read_manifest(self, folder: Path) -> Manifest:
        path = folder / MANIFEST
        try:
            return Manifest.from_json(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise TextmillError(
                f"{path} cannot be read ({error}). Delete that folder: the next run builds it again."
            ) from error

    def _is_left_over(self, work: Path) -> bool:
        """Whether what `keep` holds went into a published artifact; an unfinished rebuild is newer than that."""
        stage, _, key = work.name.rpartition("-")
        published = self._folders(stage).get(key)
        if published is None or not (published / MANIFEST).exists():
            return False
        newest = max((path.stat().st_mtime_ns for path in (work / "keep").rglob("*") if path.is_file()), default=0)
        return newest <= (published / MANIFEST).stat().st_mtime_ns

    def _is_whole_and_equal(self, folder: Path, manifest: Manifest) -> bool:
        try:
            existing = self._read_manifest(folder)
        except TextmillError:
            return False
        return existing.payload_digest == manifest.payload_digest and not any(verify_folder(folder))


def _joined(found: tuple[str, str, str]) -> str:
    stage, name, key = found
    return f"{stage}/{name}-{key}"


def _lock_of(work: Path) -> Path:
    return work.with_name(work.name + _LOCK)


def _replace(existing: Path, out: Path, final: Path, aside: Path) -> None:
    """Put `out` at `final` in place of `existing`, which has the same key and other bytes, or is damaged."""
    os.rename(existing, aside)
    try:
        os.rename(out, final)
    except BaseException:
        os.rename(aside, existing)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _describe(identity: Identity, name: str, facts: Facts, inputs: list[str], out: Path) -> Manifest:
    """Digest every file below `out` and put the manifest together."""
    files = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        digest = file_digest(path)
        logical = logical_digest(path) if path.suffix == ".parquet" else digest
        files[path.relative_to(out).as_posix()] = FileEntry(path.stat().st_size, digest, logical)
    return Manifest(
        name=name,
        key=identity.key,
        recipe=identity,
        inputs=inputs,
        payload_digest=payload_digest(payload_files(files)),
        files=files,
        counts=facts.counts,
        licences=sorted(set(facts.licences)),
        notes=facts.notes,
        details=facts.details,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        textmill=_own_version(),
    )


def _has_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def _own_version() -> str:
    try:
        return version("textmill")
    except PackageNotFoundError:
        return "not installed"
