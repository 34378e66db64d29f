"""What counts as personal data, by type: its name, the placeholder that replaces it, and the settings that choose.

Placeholders are one word in capitals between angle brackets: no special token of ours looks so, and no pattern finds
anything in one, so that what was replaced once stays as it is.
"""

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

PersonalType = Literal["secret", "email", "user", "iban", "card", "ip", "phone"]
TYPES: tuple[PersonalType, ...] = get_args(PersonalType)
"""Where two types claim the same characters, the one that stands earlier here gets them."""

NAME: Literal["name"] = "name"
"""People's names, the one type that no pattern finds: a pipeline of the user's does (data/privacy/names.py)."""
Replaceable = PersonalType | Literal["name"]

PLACEHOLDERS: dict[PersonalType, str] = {one: f"<{one.upper()}>" for one in TYPES}
NAME_PLACEHOLDER = "<NAME>"

THINGS: dict[Replaceable, tuple[str, str]] = {
    "secret": ("access key", "access keys"),
    "email": ("e-mail address", "e-mail addresses"),
    "user": ("user name", "user names"),
    "iban": ("bank account", "bank accounts"),
    "card": ("payment card", "payment cards"),
    "ip": ("IP address", "IP addresses"),
    "phone": ("phone number", "phone numbers"),
    "name": ("person's name", "people's names"),
}
"""What one and several of a type are called."""

RULES = 1  # raised by hand when the same text is replaced in another way; enters the key where anything is replaced


class PrivacyConfig(BaseModel):
    """Which personal data are replaced by placeholders, and in which sources; to be mixed into a stage's config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    privacy: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Where personal data in texts are replaced by placeholders such as `<EMAIL>`. auto: in sources of "
        "what people wrote to each other (discord, discord-api, reddit); on: in all; off: nowhere.",
    )
    privacy_types: tuple[PersonalType, ...] = Field(
        TYPES,
        min_length=1,
        description="What is replaced: e-mail addresses, phone numbers, public IP addresses, payment cards, IBANs, "
        "access keys (secret), and mentions of accounts (user).",
    )

    names: str | None = Field(
        None,
        min_length=1,
        description="spaCy pipeline that finds people's names, which `<NAME>` then stands for: an installed package "
        "such as en_core_web_sm, or a folder. Whatever `privacy` says; needs the extra names. null: names stay.",
    )
    name_labels: tuple[str, ...] = Field(
        ("PER", "PERSON"), min_length=1, description="Labels that pipelines give to people's names."
    )
    names_in: Literal["all", "chats"] = Field(
        "all",
        description="Where names are replaced: in all sources, or only in those of what people wrote to each other.",
    )

    @field_validator("privacy_types")
    @classmethod
    def _in_one_order(cls, types: tuple[PersonalType, ...]) -> tuple[PersonalType, ...]:
        """Sorted and without repeats, so that two ways to write a choice make one key."""
        return tuple(one for one in TYPES if one in types)

    @field_validator("name_labels")
    @classmethod
    def _labels_in_one_order(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(labels)))

    def types_replaced(self, personal: bool) -> tuple[PersonalType, ...]:
        """The types that are replaced in a source; `personal` says whether it is of what people wrote to each other."""
        return self.privacy_types if self.privacy == "on" or (self.privacy == "auto" and personal) else ()

    def replaces_names(self, personal: bool) -> bool:
        """Whether names are replaced in a source; `personal` as above."""
        return self.names is not None and (personal or self.names_in == "all")

    def privacy_identity(self, personal: bool) -> dict[str, Any]:
        """What of these settings changes documents, JSON-able; empty where nothing is replaced.

        Of names nothing is said: what tells of them is the pipeline (`Pipeline.identity`).
        """
        types = self.types_replaced(personal)
        return {"privacy": {"types": list(types), "rules": RULES}} if types else {}
