"""Is an artifact still what was published? A quick look at sizes, and a slow one at every byte."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from data.digests import file_digest, payload_digest
from data.errors import TextmillError
from data.manifest import FileEntry, Manifest

MANIFEST = "manifest.json"
OBSERVED = "observed"  # files below this folder are verified, but are no part of the payload


@dataclass(frozen=True)
class Damage:
    """Something `verify` found: `where` is a path, `problem` a sentence with both values."""

    ref: str
    where: Path
    problem: str

    @property
    def is_observation(self) -> bool:
        """Whether the result itself is whole."""
        parts = self.where.parts
        return parts[parts.index(Path(self.ref).name) + 1 :][:1] == (OBSERVED,)


def payload_files(files: dict[str, FileEntry]) -> dict[str, str]:
    """{path: logical digest} of the files that are payload."""
    return {path: entry.logical for path, entry in files.items() if not path.startswith(f"{OBSERVED}/")}


class DamagedError(TextmillError):
    """An artifact is not what was published any more."""


def require_whole(folder: Path, files: str = "*") -> None:
    """Hash those files of the artifact in `folder` that a pattern takes. Raises DamagedError naming the first bad one.

    Patterns are those of fnmatch, in which `*` takes slashes, too. What was observed is left out.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, TextmillError) as error:
        raise DamagedError(_damaged(folder, path, str(error).removeprefix(f"{path} "))) from error
    for name in payload_files(manifest.files):
        if fnmatchcase(name, files) and (problem := _changed(folder / name, manifest.files[name])):
            raise DamagedError(_damaged(folder, folder / name, problem))


def _damaged(folder: Path, where: Path, problem: str) -> str:
    return (
        f"{folder.parent.name}/{folder.name} is damaged: {where} {problem.rstrip('.')}. Delete the folder {folder}, "
        f"then run the same again: it is built anew, with what was made from it where that comes out different."
    )


def _changed(path: Path, entry: FileEntry) -> str | None:
    try:
        digest = file_digest(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest == entry.sha256 else f"sha256 is {digest[:12]}, its manifest says {entry.sha256[:12]}"


def first_missing(folder: Path, manifest: Manifest) -> str | None:
    """The first file that is not there or has another size, in words; contents are not read."""
    for path, entry in manifest.files.items():
        try:
            size = (folder / path).stat().st_size
        except OSError:
            return f"{folder / path} is missing"
        if size != entry.bytes:
            return f"{folder / path} has {size} bytes, its manifest says {entry.bytes}"
    return None


def verify_folder(folder: Path) -> Iterator[Damage]:
    """Hash every file of the artifact in `folder`: yields what is missing, changed, unknown or inconsistent."""
    ref = f"{folder.parent.name}/{folder.name}"
    path = folder / MANIFEST
    try:
        manifest = Manifest.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, TextmillError) as error:
        yield Damage(ref, path, str(error).removeprefix(f"{path} "))
        return
    yield from inconsistencies(manifest, ref, path)
    for name, entry in manifest.files.items():
        if problem := _changed(folder / name, entry):
            yield Damage(ref, folder / name, problem)
    for extra in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = extra.relative_to(folder).as_posix()
        if name not in manifest.files and name != MANIFEST:
            yield Damage(ref, extra, "is not in the manifest")


def inconsistencies(manifest: Manifest, ref: str, path: Path) -> Iterator[Damage]:
    """What a manifest, which lies at `path` in the artifact `ref`, says against itself."""
    if manifest.recipe.key != manifest.key or not ref.endswith(f"-{manifest.key}"):
        yield Damage(ref, path, f"key is {manifest.key}, but its recipe hashes to {manifest.recipe.key}")
    if manifest.payload_digest != (recorded := payload_digest(payload_files(manifest.files))):
        yield Damage(ref, path, f"payload digest is {manifest.payload_digest[:12]}, its files give {recorded[:12]}")
