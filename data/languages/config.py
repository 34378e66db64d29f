"""Which languages are kept, and how sure one must be of them."""

from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict, Field, field_validator

RULES = "py3langid 0.4.0, 1"  # model and version of our sampling; enters the key where languages are judged

_CODES = """
af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi hr
ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc om
or pa pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa xh
yo zh zu
ace ary arz bcl crh ext fuv gcf gcr gom grc gug guw hbo kab kik lij ltg nso pcm sdh uzs vec wuu yue
"""
LANGUAGES = frozenset(_CODES.split())
"""What py3langid 0.4.0 tells apart: codes of ISO 639-1, and of ISO 639-3 for languages that have no other."""


class LanguageConfig(BaseModel):
    """Which languages are kept; a text is judged by a sample of a few hundred characters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wanted: tuple[str, ...] = Field(
        min_length=1, description="Languages kept, as codes of ISO 639-1 (en, de); other documents are dropped."
    )
    min_confidence: float = Field(
        0.65,
        ge=0,
        le=1,
        description="Least probability that a document is in one of the wanted languages; 0.65 is FineWeb's.",
    )

    @field_validator("wanted")
    @classmethod
    def _known_and_in_one_order(cls, wanted: tuple[str, ...]) -> tuple[str, ...]:
        for code in wanted:
            if code not in LANGUAGES:
                near = get_close_matches(code.lower(), sorted(LANGUAGES), 1, 0)
                raise ValueError(
                    f"there is no language {code!r}; did you mean {near[0]!r}? Codes are of ISO 639-1, such as en."
                )
        return tuple(sorted(set(wanted)))
