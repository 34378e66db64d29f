"""The registry of a recipe's models: which one is champion, which one challenged it last, and why each was decided.

It is one value of the store's refs, replaced whole by compare-and-swap: a decision is either made, with all that
belongs to it, or not made at all, whenever a process is killed. Of two that decide at once, the second is told to look
again.
Knows no flow and no gate: what a decision is based on is handed to it as plain JSON.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from data.errors import TextmillError
from data.manifest import ArtifactRef, safe_name
from data.refs import Refs, Snapshot
from data.store import Store

FORMAT = 1  # of the registry's JSON; raised when a reader of the older one would misread it
FOLDER = "champions"
KEPT_DECISIONS = 500  # newest ones
KEPT_CHAMPIONS = 50  # how far `rollback` reaches
ALIAS = re.compile(r"(champion|challenger):(.+)")

Outcome = Literal["promoted", "kept", "rolled back"]


@dataclass(frozen=True)
class Decision:
    """One decision.

    number   from 1
    date     ISO 8601, UTC
    outcome  `promoted`: model is champion from now on; `kept`: the one before is still; `rolled back`: model is again
    model    what it was about
    before   the champion until then, None if there was none
    reasons  one sentence each
    corpus   what it was made on: reference and digest of the corpus, digest of what its sources held; {} by hand
    scores   bits per byte of both, by source and kind of text, and what else was measured; {} by hand
    run      id of Prefect's flow run that decided, "" outside of one and by hand
    """

    number: int
    date: str
    outcome: Outcome
    model: ArtifactRef
    before: ArtifactRef | None
    reasons: tuple[str, ...]
    corpus: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    run: str = ""

    @property
    def bits_per_byte(self) -> tuple[float | None, float | None]:
        """Of the model and of the champion before on the same frozen text (else on all that was held out).

        The first model of a recipe has its own score alone; None is what was not scored.
        """
        totals = self.scores.get("totals", {})
        value, before = totals.get("frozen") or totals.get("all") or (self.scores.get("val_bpb"), None)
        return value, before


@dataclass(frozen=True)
class Champions:
    """The registry of one recipe as it was read.

    line        champions in the order in which they came, the present one last
    challenger  the last model that was judged and not promoted; None after a promotion
    history     decisions, oldest first
    seen        what the sources held at the last decision of a retraining, see `tasks.news`; None before the first
    token       what `write` wants to see unchanged
    """

    recipe: str
    line: tuple[ArtifactRef, ...] = ()
    challenger: ArtifactRef | None = None
    history: tuple[Decision, ...] = ()
    seen: Mapping[str, Any] | None = None
    token: str | None = None

    @property
    def champion(self) -> ArtifactRef | None:
        return self.line[-1] if self.line else None

    def promoted(self, model: ArtifactRef, reasons: tuple[str, ...], **basis: Any) -> "Champions":
        """`model` becomes champion; `basis` is `corpus`, `scores` and `run` of the decision."""
        decision = self._decision("promoted", model, reasons, **basis)
        return replace(self._with(decision), line=(*self.line, model)[-KEPT_CHAMPIONS:], challenger=None)

    def kept(self, model: ArtifactRef, reasons: tuple[str, ...], **basis: Any) -> "Champions":
        """The champion stays, and `model` is its challenger."""
        return replace(self._with(self._decision("kept", model, reasons, **basis)), challenger=model)

    def rolled_back(self, reasons: tuple[str, ...]) -> "Champions":
        """The champion before becomes champion again. Raises TextmillError when there is none."""
        if len(self.line) < 2:
            there = f"{self.champion} is its first champion" if self.line else "it has no champion"
            raise TextmillError(
                f"The recipe {self.recipe!r} cannot be rolled back: {there}. `textmill promote REF` chooses a model."
            )
        decision = self._decision("rolled back", self.line[-2], reasons)
        return replace(self._with(decision), line=self.line[:-1])

    def having_seen(self, seen: Mapping[str, Any]) -> "Champions":
        """With the survey that the next look is compared with."""
        return replace(self, seen=seen)

    def _decision(self, outcome: Outcome, model: ArtifactRef, reasons: tuple[str, ...], **basis: Any) -> Decision:
        number = self.history[-1].number + 1 if self.history else 1
        date = datetime.now(UTC).isoformat(timespec="seconds")
        return Decision(number, date, outcome, model, self.champion, reasons, **basis)

    def _with(self, decision: Decision) -> "Champions":
        return replace(self, history=(*self.history, decision)[-KEPT_DECISIONS:])


def read_champions(refs: Refs, recipe: str) -> Champions:
    """The registry of a recipe; one without champions where nothing was decided. Raises TextmillError on damage."""
    seen = refs.read(f"{FOLDER}/{recipe}")
    if seen.value is None:
        return Champions(recipe, token=seen.token)
    return _parsed(refs, f"{FOLDER}/{recipe}", seen)


def write_champions(refs: Refs, champions: Champions) -> None:
    """Put a registry in place of the one it was made from. Raises RefMovedError when somebody else was faster."""
    refs.swap(f"{FOLDER}/{champions.recipe}", champions.token, to_json(champions) | {"format": FORMAT})


def all_champions(refs: Refs) -> list[Champions]:
    """The registries of all recipes in a store, by name."""
    found = [_parsed(refs, name, refs.read(name)) for name in refs.names(FOLDER)]
    return sorted(found, key=lambda one: one.recipe)


def _parsed(refs: Refs, name: str, seen: Snapshot) -> Champions:
    try:
        return _from_json(seen.value, seen.token)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TextmillError(
            f"The registry {refs.place(name)} cannot be read ({error!r}): use the version of Textmill that wrote it, "
            "or delete it to begin a new one (no model is lost)."
        ) from error


def resolve(store: Store, text: str) -> ArtifactRef:
    """The artifact that a user means: as `Store.resolve` has it, or `champion:NAME`, `challenger:NAME` of a recipe."""
    alias = ALIAS.fullmatch(text)
    if alias is None:
        return store.resolve(text)
    role, recipe = alias.groups()
    champions = read_champions(store.refs, recipe)
    ref = champions.champion if role == "champion" else champions.challenger
    if ref is None:
        known = ", ".join(one.recipe for one in all_champions(store.refs)) or "none"
        raise TextmillError(
            f"There is no {text} in {store.where}: the recipe {recipe!r} has no {role}; recipes with a registry: "
            f"{known}. `textmill models` lists them."
        )
    found = store.find(ref.stage, [ref.key]).get(ref.key)
    if found is None:
        raise TextmillError(
            f"{text} is {ref}, which is gone from {store.where}: `textmill rollback {recipe}` or "
            "`textmill promote REF` chooses another one."
        )
    return found


def recipe_of(store: Store, model: ArtifactRef) -> str:
    """The recipe in whose registry a model belongs, by the name that it was trained under."""
    name = store.manifest(model).name
    return next((one.recipe for one in all_champions(store.refs) if safe_name(one.recipe) == name), name)


def to_json(champions: Champions) -> dict[str, Any]:
    """All but the token, as JSON has it."""
    value = asdict(champions)
    del value["token"]
    return value


def _from_json(value: Mapping[str, Any], token: str | None) -> Champions:
    if value["format"] != FORMAT:
        raise ValueError(f"format {value['format']!r}, this version reads {FORMAT}")
    return Champions(
        recipe=str(value["recipe"]),
        line=tuple(ArtifactRef(**one) for one in value["line"]),
        challenger=_ref(value["challenger"]),
        history=tuple(_decision(one) for one in value["history"]),
        seen=value["seen"],
        token=token,
    )


def _decision(value: Mapping[str, Any]) -> Decision:
    if value["outcome"] not in get_args(Outcome):
        raise ValueError(f"outcome {value['outcome']!r}")
    known = {"model": ArtifactRef(**value["model"]), "before": _ref(value["before"])}
    return Decision(**{**value, **known, "reasons": tuple(value["reasons"])})


def _ref(value: Mapping[str, Any] | None) -> ArtifactRef | None:
    return ArtifactRef(**value) if value else None
