"""Taking artifacts out of a store, one whole artifact after the other."""

from collections.abc import Iterable, Iterator

from data.manifest import Manifest
from data.store import Store


def remove_each(store: Store, manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    """Remove artifacts in this order, which should take what was made from others before these; yields what was there.

    Ended anywhere, it leaves whole artifacts only, and none whose inputs went before it.
    """
    for one in manifests:
        if store.remove(one.ref):
            yield one
