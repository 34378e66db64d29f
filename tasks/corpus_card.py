"""The corpus card: what a corpus was made of and what each rule took, as a markdown artifact in Prefect.

Every run that comes to a corpus leaves one, also a run that reused everything; only then it does without the picture,
which takes a second to draw. Nothing depends on the card: whatever goes wrong with it is logged, and the run goes on.
"""

from collections.abc import Mapping, Sequence

from prefect.artifacts import create_markdown_artifact

from data.facts import counted
from data.manifest import ArtifactRef
from data.scores import Histogram, drawn
from tasks.corpus_facts import OWN_STEPS, SCORES_SAY, CorpusFacts, TextFlow, gather_corpus_facts
from tasks.corpus_parts import Part
from tasks.markdown import block, code, plain, table
from tasks.progress import run_logger
from tasks.report_drops import Drop, read_drops
from tasks.report_page import byte_size, compact, data_url, number, visible
from tasks.run import Run
from tasks.run_card import MAX_PICTURE_BYTES, card_key
from tasks.slots import Slot

MAX_ROWS = 20  # of a table of the card
_BAR = 30  # characters of the longest bar of the histogram


def publish_corpus_card(
    run: Run, documents: Sequence[Slot], drops: Sequence[Slot], shards: Sequence[Slot], index: ArtifactRef
) -> None:
    """Leave the card of a corpus in Prefect and warn of drift; a failure is only logged.

    documents, drops, shards  of every slot, in one order
    """
    try:
        store = run.store
        parts = [
            Part(slot.source, slot.number, *(store.manifest(one.ref) for one in (slot, drop, shard)))
            for slot, drop, shard in zip(documents, drops, shards, strict=True)
        ]
        facts = gather_corpus_facts(store, index, parts, run.recipe_name)
        stages = [record for stage in ("documents", "duplicates", "corpus") if (record := run.records.get(stage))]
        is_new = any(record.built for record in stages)
        for jump in facts.drift.jumps if is_new else ():  # whoever reuses a corpus was told when it was made
            run_logger().warning("%s", jump)
            run.notes.append(str(jump))
        picture = _draw(facts) if is_new else None
        card = corpus_card(run, facts, index, read_drops(store, [slot.ref for slot in documents]), picture)
        create_markdown_artifact(
            card, key=card_key(run.recipe_name, "corpus"), description=f"Corpus card of {run.recipe_name}"
        )
    except Exception as error:  # the corpus is made, and stays made
        run_logger().warning("The corpus card could not be left in Prefect (%s: %s).", type(error).__name__, error)


def corpus_card(run: Run, facts: CorpusFacts, index: ArtifactRef, drops: Sequence[Drop], picture: bytes | None) -> str:
    """The card as markdown; `picture` is a PNG of the waterfall."""
    parts = [
        f"# Corpus of {plain(run.recipe_name)}",
        _lead(facts),
        _drift(facts),
        f"![What each rule took of documents and characters]({data_url(picture)})" if picture else "",
        _sources(facts),
        _steps(facts.all),
        _duplicates(facts),
        _rest(facts.all),
        _licences(facts.all),
        _lengths(facts.all.lengths),
        _scores(facts.all.scores),
        _examples(drops),
        f"Lies in {code(run.store.address(index))}. Look into it: {code(f'textmill corpus {index} --browse')}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _draw(facts: CorpusFacts) -> bytes | None:
    from tasks.corpus_pictures import draw_waterfall  # loads matplotlib, which runs that reuse all do without

    picture = draw_waterfall(facts, "light")
    return picture if len(picture) <= MAX_PICTURE_BYTES else None


def _lead(facts: CorpusFacts) -> str:
    flow = facts.all
    return (
        f"**{number(flow.documents_kept)} of {number(flow.documents_in)} documents** are kept, "
        f"{compact(flow.characters_kept)} of {compact(flow.characters_in)} characters, {byte_size(flow.bytes_kept)}."
    )


def _drift(facts: CorpusFacts) -> str:
    if not facts.drift.jumps:
        return ""
    return "## Suddenly dropped\n\n" + "\n".join(f"- {plain(visible(jump, 300))}" for jump in facts.drift.jumps)


def _sources(facts: CorpusFacts) -> str:
    flows = [*facts.sources[:MAX_ROWS], *([facts.all] if len(facts.sources) > 1 else [])]
    rows = [
        (
            plain(visible(flow.name, 80)),
            number(flow.documents_in),
            number(sum(flow.reasons.values())),
            number(flow.equal + flow.similar),
            number(flow.documents_kept),
            compact(flow.characters_in),
            compact(flow.characters_kept),
            byte_size(flow.bytes_kept),
        )
        for flow in flows
    ]
    head = ("Source", "Read", "Dropped", "Duplicates", "Kept", "Characters read", "kept", "Bytes kept")
    return "## Sources\n\n" + table(head, rows)


def _steps(flow: TextFlow) -> str:
    steps = flow.steps
    shown = [step for place, step in enumerate(steps) if place < MAX_ROWS or step.name in OWN_STEPS]
    rows = [
        (plain(step.name.replace("_", " ")), number(step.documents), _share(step.documents, flow.documents_in),
         number(step.characters))
        for step in shown
    ]  # fmt: skip
    return "## What was taken\n\n" + table(("Rule", "Documents", "Share", "Characters"), rows) if rows else ""


def _duplicates(facts: CorpusFacts) -> str:
    flow, clusters = facts.all, facts.clusters
    if not flow.equal + flow.similar:
        return ""
    text = f"Duplicates: {number(flow.equal)} equal to earlier documents, {number(flow.similar)} similar."
    if clusters:
        sizes = ", ".join(f"{least:,} to {2 * least - 1:,}: {count:,}" for least, count in clusters.sizes.items())
        text += (
            f" They form {counted(clusters.count, 'cluster')}; the largest has {clusters.largest:,} documents. "
            f"Clusters by documents: {sizes}."
        )
    return text


def _rest(flow: TextFlow) -> str:
    """What was judged and edited, as one line each."""
    edits = {name: count for name, (count, _) in flow.edits.items()}
    groups = {
        "Personal data replaced": flow.replaced,
        "Languages of the documents judged": flow.languages,
        "Documents edited": edits,
        "Lines removed by C4's rules": flow.lines_removed,
    }
    return "\n".join(f"- {title}: {_named(counts)}." for title, counts in groups.items() if counts)


def _licences(flow: TextFlow) -> str:
    rows = [
        (plain(visible(name, 120)), byte_size(size), _share(size, flow.bytes_kept))
        for name, size in list(flow.licences.items())[:MAX_ROWS]
    ]
    return "## Licences\n\n" + table(("Licence", "Text kept", "Share"), rows) if rows else ""


def _lengths(lengths: Mapping[int, int]) -> str:
    if not lengths:
        return ""
    most = max(lengths.values())
    lines = [
        f"{least:>13,} to {2 * least - 1:>13,}  {count:>11,}  {'█' * round(_BAR * count / most)}".rstrip()
        for least, count in lengths.items()
    ]
    return "## Lengths\n\nDocuments kept, by length in bytes.\n\n" + block("\n".join(lines))


def _scores(scores: Mapping[str, Histogram]) -> str:
    if not scores:
        return ""
    lines = [
        f"{name.replace('_', ' '):<42}  {one.total:>11,}  {one.quantile(0.05):>5.2f} {one.quantile(0.5):>5.2f} "
        f"{one.quantile(0.95):>5.2f}  {one.low:g} |{drawn(one.counts)}| {one.high:g}"
        for name, one in scores.items()
    ]
    head = f"{'':<42}  {'documents':>11}  {'5%':>5} {'50%':>5} {'95%':>5}"
    return f"## Scores\n\n{SCORES_SAY}\n\n" + block("\n".join([head, *lines]))


def _examples(drops: Sequence[Drop]) -> str:
    lines = [
        f"- {plain(drop.reason.replace('_', ' '))}: {plain(visible(example['native_id'], 80))}: "
        f"{plain(visible(example['excerpt'], 120))}"
        for drop in drops[:MAX_ROWS]
        for example in drop.examples[:1]
    ]
    return "## Examples of what was dropped\n\n" + "\n".join(lines) if lines else ""


def _named(counts: Mapping[str, int]) -> str:
    shown = list(counts.items())[:MAX_ROWS]
    rest = len(counts) - len(shown)
    text = ", ".join(f"{plain(name.replace('_', ' '))} {count:,}" for name, count in shown)
    return f"{text} and {rest} more" if rest else text


def _share(part: int, whole: int) -> str:
    return f"{part / max(1, whole):.1%}"
