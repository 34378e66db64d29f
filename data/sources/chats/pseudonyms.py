"""Names for authors that tell speakers apart without telling who they are.

`keyed` names are a keyed hash of the author's id, spelt as syllables: the same person has the same name in every
month, channel and run with the same key. Ids are few enough to try them all, so a hash without a key could be undone
by anybody; with it, names cannot be traced back from the output, however much of it there is. The key is made from a
secret of the user's (see data/sources/secrets.py), which is written nowhere: keys of artifacts hold a digest of it that
is slow to compute (scrypt), so that another secret gives other artifacts. Whoever loses the secret gets new names, and
with them every document anew. `numbered` names (Speaker 1, Speaker 2) start afresh in each document and need no secret.

Knows nothing of where authors come from.
"""

import hashlib
import re
from functools import lru_cache
from typing import Any, Literal, Protocol

from pydantic import BaseModel, Field

from data.sources.base import SourceError
from data.sources.secrets import secret

SYLLABLES = 5  # of 80: three thousand million names, so that of 10,000 authors hardly two share one (1.5%)
_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aeiou"
MADE_NAME = re.compile(rf"(?=[A-Z])(?i:(?:[{_CONSONANTS}][{_VOWELS}]){{{SYLLABLES}}}(?![\w-]))|Speaker [0-9]")
"""Matches at the beginning of a name that was made here; few names that people choose look so."""
_SHORTEST_SECRET = 16  # characters
_CACHED = 100_000  # names kept ready, some 20 MB


class Names(Protocol):
    """Gives authors their names."""

    def begin(self) -> None:
        """A new document begins."""

    def name(self, author: str) -> str:
        """The name of the author with this id."""


class KeyedNames:
    """The same name for the same id wherever it occurs.

    key    32 bytes that nobody else knows
    realm  which ids these are, e.g. "discord"; at most 16 bytes. Equal ids of two realms have different names.
    """

    def __init__(self, key: bytes, realm: str) -> None:
        self._hash = hashlib.blake2b(key=key, digest_size=8, person=realm.encode())
        self._known: dict[str, str] = {}

    def begin(self) -> None:
        pass

    def name(self, author: str) -> str:
        known = self._known.get(author)
        if known is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            known = self._known[author] = self._make(author)
        return known

    def _make(self, author: str) -> str:
        digest = self._hash.copy()
        digest.update(author.encode("utf-8", "surrogatepass"))
        number = int.from_bytes(digest.digest(), "big")
        syllables = []
        for _ in range(SYLLABLES):
            number, place = divmod(number, len(_CONSONANTS) * len(_VOWELS))
            syllables.append(_CONSONANTS[place // len(_VOWELS)] + _VOWELS[place % len(_VOWELS)])
        return "".join(syllables).capitalize()


class NumberedNames:
    """Speaker 1, Speaker 2... in the order in which a document asks for them."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def begin(self) -> None:
        self._known.clear()

    def name(self, author: str) -> str:
        return self._known.setdefault(author, f"Speaker {len(self._known) + 1}")


class PseudonymSettings(BaseModel):
    """The settings of a source whose authors get other names; to be mixed into its config."""

    pseudonyms: Literal["keyed", "numbered"] = Field(
        "keyed",
        description="Names that authors get. keyed: the same name wherever they write, made with the secret that "
        "pseudonym_key names. numbered: Speaker 1, Speaker 2... anew in each document, without a secret.",
    )
    pseudonym_key: str = Field(
        "TEXTMILL_PSEUDONYM_KEY",
        min_length=1,
        description="Name of the secret from which keyed names are made: an environment variable or a Prefect Secret "
        "block that holds at least 16 characters, best random ones. Keep it: with another one all names change.",
    )

    def names(self, realm: str) -> Names:
        """The names that these settings ask for. Raises SourceError when they need a secret that is not there."""
        return NumberedNames() if self.pseudonyms == "numbered" else KeyedNames(self._derived()[0], realm)

    def pseudonym_identity(self) -> dict[str, Any]:
        """What of these settings changes documents; no secret, and nothing to find one out with."""
        if self.pseudonyms == "numbered":
            return {"pseudonyms": "numbered"}
        return {"pseudonyms": "keyed", "pseudonym_key": self._derived()[1]}

    def name_if_keyed(self, author: str, realm: str, digest: str) -> str | None:
        """The name of an author whose names are made with the key of this digest; None where that is another key, or
        the secret is not there."""
        names = self.names_if_keyed(realm, digest)
        return names.name(author) if names else None

    def names_if_keyed(self, realm: str, digest: str) -> Names | None:
        """The names that are made with the key of this digest; None where that is another key, or the secret is not
        there."""
        try:
            key, own = self._derived()
        except SourceError:
            return None
        return KeyedNames(key, realm) if own == digest else None

    def _derived(self) -> tuple[bytes, str]:
        try:
            text = secret(self.pseudonym_key)
        except SourceError as error:
            raise SourceError(
                f"Authors get other names, made with a secret of yours. {error} Any random text of at least "
                f"{_SHORTEST_SECRET} characters will do, such as the output of: openssl rand -hex 16; keep it. Or set "
                "its `pseudonyms` to numbered, which needs none."
            ) from error
        if len(text) < _SHORTEST_SECRET:
            raise SourceError(
                f"The secret {self.pseudonym_key} has {len(text)} characters; names made with it could be traced back. "
                f"Make it at least {_SHORTEST_SECRET} characters, best random ones."
            )
        return _derive(text)


@lru_cache(maxsize=8)
def _derive(text: str) -> tuple[bytes, str]:
    """The key that names are made with, and a digest that tells it from others without giving it away."""
    made = hashlib.scrypt(text.encode(), salt=b"textmill pseudonyms", n=1 << 14, r=8, p=1, dklen=64)
    return made[:32], hashlib.sha256(made[32:]).hexdigest()[:16]
