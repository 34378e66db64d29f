"""The artifacts below a local folder: which there are, what their manifests say, and how one gets its place.

<stage>/<name>-<key>/        manifest.json, payload files, observed/
<stage>/.replaced/           what is being replaced, see data/replacing.py
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from data.errors import TextmillError
from data.files import make_folder, storage_errors, sync_file, sync_folder, write_durably
from data.manifest import ArtifactRef, Manifest, safe_name
from data.replacing import ASIDE, folders_by_key, lying_aside, replace, settle, tidy
from data.verification import MANIFEST, verify_folder
from data.work import WorkFolder, newest_change

_RESERVED = {"work", "refs"}  # folders of the root that hold no artifacts


class Published:
    """What lies published below `root`. Raises StorageError when the disk refuses."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def stages(self) -> list[str]:
        """Names of the stages that have artifacts, sorted."""
        with storage_errors(self.root):
            folders = [p.name for p in self.root.iterdir() if p.is_dir()] if self.root.is_dir() else []
        return sorted(name for name in folders if name not in _RESERVED and not name.startswith("."))

    def folders(self, stage: str) -> dict[str, Path]:
        """{key: folder} of everything published for a stage."""
        with storage_errors(self.root):
            return folders_by_key(self.root / safe_name(stage))

    def all_folders(self) -> list[Path]:
        """The folders of everything published, stage by stage."""
        return [folder for stage in self.stages() for folder in self.folders(stage).values()]

    def manifest(self, folder: Path) -> Manifest:
        """The manifest in one of the folders. Raises TextmillError when it is damaged or cannot be read."""
        path = folder / MANIFEST
        try:
            return Manifest.from_json(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise TextmillError(
                f"{path} cannot be read ({error}). Delete that folder: the next run builds it again."
            ) from error

    def put(self, out: Path, manifest: Manifest) -> ArtifactRef:
        """Give `out` its place; returns the reference of what then lies there."""
        for path in manifest.files:
            sync_file(out / path)
        for folder, _, _ in os.walk(out):
            sync_folder(Path(folder))
        write_durably(out / MANIFEST, manifest.to_json())
        stage = self.root / safe_name(manifest.recipe.stage)
        make_folder(stage)
        final = stage / f"{manifest.name}-{manifest.key}"
        existing = self.folders(manifest.recipe.stage).get(manifest.key)
        if existing is None:
            os.rename(out, final)
        elif self._is_whole_and_equal(existing, manifest):
            shutil.rmtree(out)
            return self.manifest(existing).ref
        else:
            replace(existing, out, final)
        sync_folder(stage)
        return manifest.ref

    def settle(self, work: Path) -> Path | None:
        """Carry through the replacing that was killed, of the artifact of a work folder; only under its lock. Returns
        what had been laid aside, or None."""
        stage, _, key = work.name.rpartition("-")
        return settle(self.root / stage, key, work / "out")

    def settle_all(self, work: WorkFolder, stages: Iterable[str] | None = None) -> list[str]:
        """Carry through all that were killed (of these stages; None: of all) and nobody is at; returns the places."""
        wanted = None if stages is None else {safe_name(stage) for stage in stages}
        settled = []
        for stage in sorted(path.parent for path in self.root.glob(f"*/{ASIDE}")):
            for key in lying_aside(stage) if wanted is None or stage.name in wanted else ():
                with work.owned_if_free(stage.name, key) as folder:
                    if folder and (aside := self.settle(folder)):
                        settled.append(aside.relative_to(self.root).as_posix())
            tidy(stage)
        return settled

    def is_left_over(self, work: Path) -> bool:
        """Whether what a work folder keeps went into a published artifact; an unfinished rebuild is newer than that."""
        stage, _, key = work.name.rpartition("-")
        published = self.folders(stage).get(key)
        if published is None or not (published / MANIFEST).exists():
            return False
        return newest_change(work / "keep") <= (published / MANIFEST).stat().st_mtime_ns

    def _is_whole_and_equal(self, folder: Path, manifest: Manifest) -> bool:
        try:
            existing = self.manifest(folder)
        except TextmillError:
            return False
        return existing.payload_digest == manifest.payload_digest and not any(verify_folder(folder))
