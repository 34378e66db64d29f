"""The artifacts below a local folder: which there are, what their manifests say, and how one gets its place.

<stage>/<name>-<key>/        manifest.json, payload files, observed/
"""

import os
import shutil
from pathlib import Path

from data.errors import TextmillError
from data.files import make_folder, storage_errors, sync_file, sync_folder, write_durably
from data.manifest import KEY_LENGTH, ArtifactRef, Manifest, safe_name
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
        folder = self.root / safe_name(stage)
        try:
            with storage_errors(self.root):
                names = os.listdir(folder) if folder.is_dir() else []
        except FileNotFoundError:
            return {}
        keyed = (name.rpartition("-") for name in names)
        return {key: folder / f"{name}-{key}" for name, _, key in keyed if name and len(key) == KEY_LENGTH}

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

    def put(self, out: Path, manifest: Manifest, work: WorkFolder) -> ArtifactRef:
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
            work.replace(existing, out, final)
        sync_folder(stage)
        return manifest.ref

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
