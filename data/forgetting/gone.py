"""What is forgotten of a source, and which stages of what was made of it go."""

from collections import defaultdict
from dataclasses import dataclass, field

from data.forgetting.ids import is_in
from data.forgetting.tombstones import Tombstones
from data.manifest import Manifest

# Stages that hold or show text, or hashes and ids of it, last first
REMOVED = ("report", "overlap", "tokens", "corpus", "duplicates", "documents", "raw")


@dataclass
class Gone:
    """What is forgotten of one source: native ids of documents and of items; `whole` when it is all of it.

    kept_in  {item: documents} that are forgotten, but whose bytes stay in a raw item with others
    clear    keys of documents artifacts that hold none of the documents
    """

    documents: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    whole: bool = False
    kept_in: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    clear: set[str] = field(default_factory=set)

    def holds_item(self, native_id: str) -> bool:
        return self.whole or native_id in self.items or Tombstones(items=frozenset(self.items)).holds_item(native_id)

    def sifted(self) -> set[str]:
        """The documents that are in no item that goes."""
        return set() if self.whole else {one for one in self.documents if not is_in(one, self.items)}


def in_order(manifest: Manifest) -> tuple[int, str]:
    """Sorts artifacts in the order in which they are removed."""
    return REMOVED.index(manifest.recipe.stage), manifest.key
