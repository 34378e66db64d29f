"""The store: artifacts that appear whole or not at all, found by key.

    <stage>/<name>-<key>/    what is published, see data/published.py
    work/                    builds in progress and what killed ones left, see data/work.py
    refs/                    mutable state, see data/refs.py

The store knows nothing of what stages mean: a stage hands over an identity and a function that fills a folder.
`data/storage/store.py` has the same below a bucket, and says which of these methods it does in another way.
"""

import logging
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from data.building import Build, begin_build, make_payload
from data.errors import TextmillError
from data.facts import Facts
from data.files import storage_errors
from data.manifest import ArtifactRef, Identity, Manifest, safe_name
from data.published import Published
from data.refs import Refs
from data.verification import Damage, first_missing, require_whole, verify_folder
from data.work import WorkFolder, has_files

__all__ = ["Build", "Store"]

log = logging.getLogger(__name__)


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
        self._published = Published(self.root)
        self._work = WorkFolder(self.root / "work")
        self._whole: set[tuple[ArtifactRef, str]] = set()  # what was hashed, or written, through this very object

    # -- finding ---------------------------------------------------------------------------------------------------

    def find(self, stage: str, keys: Iterable[str]) -> dict[str, ArtifactRef]:
        """Those of `keys` that are published and whole (every file there, in its size); one folder listing in all.

        An artifact with missing or cut files is no hit: it is logged, and built again by whoever wanted it.
        """
        folders = self._published.folders(stage)
        found = {}
        for key in dict.fromkeys(keys):
            if key in folders:
                try:
                    manifest = self._published.manifest(folders[key])
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
        folders = self._published.folders(ref.stage)  # the name is a label: another builder may have used another one
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
        return self._published.manifest(self.path(ref))

    def stages(self) -> list[str]:
        """Names of the stages that have artifacts, sorted."""
        return self._published.stages()

    def manifests(
        self, stage: str | None = None, names: Collection[str] | None = None, strict: bool = False
    ) -> Iterator[Manifest]:
        """Manifests of all artifacts (of one stage, with one of the names), oldest first within a stage.

        Those that cannot be read are logged and left out; with `strict` the first one raises TextmillError.
        """
        for one in [stage] if stage else self.stages():
            manifests = []
            for folder in self._published.folders(one).values():
                if names is not None and folder.name.rpartition("-")[0] not in names:
                    continue
                try:
                    manifests.append(self._published.manifest(folder))
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
        folders = self._published.folders(stage).items()
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
        with storage_errors(self.root), self._work.owned(identity.stage, identity.key, on_wait) as work:
            self._published.settle(work)
            if not refresh and (hit := self.find(identity.stage, [identity.key]).get(identity.key)):
                return hit
            ref = self._make_and_publish(identity, name, make, inputs, work)
            shutil.rmtree(work, ignore_errors=True)
            self._whole.add((ref, "*"))
            return ref

    def sweep(self) -> list[str]:
        """Throw away what killed builds left and nobody can continue; returns the names. Work that can go on stays.

        What was about to be replaced, and by what, is no such thing: see data/replacing.py.
        """
        with storage_errors(self.root):
            self._published.settle_all(self._work)
            return self._work.sweep(self._is_left_over)

    def remove(self, ref: ArtifactRef) -> bool:
        """Delete an artifact; returns whether it was there. Whoever is building it is waited for."""
        with storage_errors(self.root), self._work.owned(ref.stage, ref.key) as work:
            self._published.settle(work)
            folder = self._published.folders(ref.stage).get(ref.key)
            if folder is not None:
                self._work.delete(folder)
            return folder is not None

    def clear_work(self, is_unwanted: Callable[[Path], bool]) -> list[str]:
        """Throw away the work folders that `is_unwanted` names, unless somebody is building there; returns names."""
        with storage_errors(self.root):
            return self._work.clear(is_unwanted)

    def clear_attempts(self, stages: Iterable[str] | None = None, older_than: float = 0.0) -> list[str]:
        """Throw away what was published of these stages (None: of all) in part only, or was replaced, and to which
        nothing was added for so many seconds; returns the places.

        Here, publishing is one step; what others replace may be left where they were killed, whatever its age.
        """
        with storage_errors(self.root):
            return self._published.settle_all(self._work, stages)

    def _make_and_publish(
        self, identity: Identity, name: str, make: Callable[[Build], Facts], inputs: Iterable[ArtifactRef], work: Path
    ) -> ArtifactRef:
        build = begin_build(work)
        try:
            return self._publish(build.out, make_payload(build, identity, name, make, inputs))
        except BaseException:
            shutil.rmtree(build.out, ignore_errors=True)
            if not has_files(build.keep):
                shutil.rmtree(work, ignore_errors=True)
            raise  # cleaning up is not handling: the caller must still see the failure

    def _publish(self, out: Path, manifest: Manifest) -> ArtifactRef:
        """Give `out` its place in the store; returns the reference of what then lies there."""
        return self._published.put(out, manifest)

    def _is_left_over(self, work: Path) -> bool:
        """Whether what `keep` of a work folder holds went into a published artifact."""
        return self._published.is_left_over(work)

    # -- verifying -------------------------------------------------------------------------------------------------

    def verify(self, ref: ArtifactRef | None = None) -> Iterator[Damage]:
        """Hash every file of one artifact or of all; yields what is missing, changed, unknown or inconsistent."""
        folders = [self.path(ref)] if ref else self._published.all_folders()
        for folder in folders:
            yield from verify_folder(folder)

    def require_whole(self, ref: ArtifactRef, files: str = "*") -> None:
        """Raise DamagedError when a file of the artifact that `files` takes (fnmatch) is not as it was published.

        Every byte is read, once for each store object: to be asked before much work is built on it.
        """
        if not {(ref, files), (ref, "*")} & self._whole:
            require_whole(self.path(ref), files)
            self._whole.add((ref, files))


def _joined(found: tuple[str, str, str]) -> str:
    stage, name, key = found
    return f"{stage}/{name}-{key}"
