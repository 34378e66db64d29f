"""Drops by reason: how many, and the first few of each as examples."""

import json
from pathlib import Path
from typing import Any

DROPS_FILE = "drops.json"
MAX_EXAMPLES = 20  # per reason
EXCERPT_CHARACTERS = 200


class DropLog:
    """Drops by reason: how many, and the first few of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}

    def add(self, reason: str, native_id: str, position: Any, characters: int, shown: str, count: int = 1) -> None:
        """Count a drop: `position` in raw, length after normalising, and a text whose beginning is shown."""
        self.count(reason, count)
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MAX_EXAMPLES:
            excerpt = shown[:EXCERPT_CHARACTERS]
            examples.append(
                {"native_id": native_id, "position": position, "characters": characters, "excerpt": excerpt}
            )

    def count(self, reason: str, count: int = 1) -> None:
        """Count a drop that is not shown."""
        self.counts[reason] = self.counts.get(reason, 0) + count

    def write(self, path: Path) -> None:
        """As JSON: {"counts": {reason: n}, "examples": {reason: [{native_id, position, characters, excerpt}]}}."""
        content = {"counts": self.counts, "examples": self.examples}
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="ascii")
