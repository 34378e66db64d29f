"""What was made from what, as manifests say: all that an artifact goes back to, and an order from the end."""

from collections.abc import Iterable, Iterator, Sequence
from graphlib import TopologicalSorter

from data.errors import TextmillError
from data.files import StorageError
from data.manifest import Manifest, key_in
from data.store import Store

Place = tuple[str, str]
"""Stage and key of an artifact that may be there or not."""


class Lineage:
    """The manifests of a store as they were when this was made, and those that were looked up since.

    Raises TextmillError when one of them cannot be read: nobody would know what its artifact was made from.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        try:
            self.manifests = {manifest.key: manifest for manifest in store.manifests(strict=True)}
        except StorageError:
            raise
        except TextmillError as error:
            raise TextmillError(
                f"What {store.where} still needs is not known, so nothing of it may go: {error}"
            ) from None
        self._later: dict[str, Manifest] = {}

    def reached(self, places: Iterable[Place]) -> set[str]:
        """Keys of these artifacts and of all that they were made from, as far as they are there."""
        found: set[str] = set()
        waiting = set(places)
        while waiting:
            known = self._known(waiting)
            found |= known.keys()
            inputs = (text for manifest in known.values() for text in manifest.inputs)
            waiting = {place for place in map(_place_of, inputs) if place[1] not in found}
        return found

    def made_from(self, keys: Iterable[str], stages: Sequence[str]) -> Iterator[Manifest]:
        """Artifacts of these stages that name one of `keys` among their inputs."""
        wanted = set(keys)
        for manifest in self.manifests.values():
            if manifest.recipe.stage in stages and not wanted.isdisjoint(map(key_in, manifest.inputs)):
                yield manifest

    def last_first(self, keys: Iterable[str]) -> list[Manifest]:
        """These artifacts in an order in which whatever was made from one comes before it."""
        wanted = set(keys)
        sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sorted(wanted), ()))
        for key in sorted(wanted):
            for parent in wanted.intersection(map(key_in, self.manifests[key].inputs)):
                sorter.add(parent, key)
        return [self.manifests[key] for key in sorter.static_order()]

    def _known(self, places: Iterable[Place]) -> dict[str, Manifest]:
        """The manifests at these places; what was published since the listing is looked up."""
        known: dict[str, Manifest] = {}
        unknown: dict[str, list[str]] = {}
        for stage, key in places:
            if manifest := self.manifests.get(key) or self._later.get(key):
                known[key] = manifest
            else:
                unknown.setdefault(stage, []).append(key)
        for stage, keys in unknown.items():
            for key, ref in self.store.find(stage, keys).items():
                known[key] = self._later[key] = self.store.manifest(ref)
        return known


def _place_of(text: str) -> Place:
    return text.partition("/")[0], key_in(text)


def size_of(manifest: Manifest) -> int:
    """Bytes of an artifact's files, without its manifest."""
    return sum(entry.bytes for entry in manifest.files.values())
