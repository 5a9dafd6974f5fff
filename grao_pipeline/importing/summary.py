"""What `grao import` says that it did."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from grao_pipeline import notes
from grao_pipeline.amounts import some
from grao_pipeline.importing.columns import Kind, Layout
from grao_pipeline.importing.ledger import ImportCounts

ALWAYS_SHOWN = ("read", "groups", "samples", "references", "rewards")


@dataclass
class ImportSummary:
    """What an import did.

    Where a row is a group or a pair, `groups + sum(dropped.values()) == read`. Where a row is a sample, `samples` takes
    the place of `groups`. Parts are those of both tables together.

    Attributes:
        rows: whether a row is a group, a sample, a preference pair, or an answer of a batch.
        read_as: column → field, where a column was read under another name.
        sampled_tokens: tokens of the responses that the policy sampled.
        context_tokens: the other tokens of the responses: results of tools, the template's text between turns.
        lost: number of rows by what of them no column can hold.
        tables: number of rows of each table, by its path.
        references_without_reasoning: of a model that reasons; not trained on, unless --reference-reasoning says how.
        references_without_answer: their reasoning never ends; not trained on.
        responses_without_reasoning: of a model that reasons; their token IDs have an empty, closed thought.
        fingerprint: of the groups.
        notes: what people should know of the result.
    """

    read: int = 0
    groups: int = 0
    samples: int = 0
    references: int = 0
    rewards: int = 0
    rows: Kind = "groups"
    dropped: dict[str, int] = field(default_factory=dict)
    read_as: dict[str, str] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    finish_reasons: dict[str, int] = field(default_factory=dict)
    sampled_tokens: int = 0
    context_tokens: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    tokenized: bool = False
    references_without_reasoning: int = 0
    references_without_answer: int = 0
    responses_without_reasoning: int = 0
    parts_made: int = 0
    parts_found: int = 0
    fingerprint: str = ""
    notes: list[str] = field(default_factory=list)

    def for_people(self) -> dict[str, object]:
        """Without zeros, with pairs as words."""
        value = {name: item for name, item in asdict(self).items() if item or name in ALWAYS_SHOWN}
        value["read_as"] = ", ".join(f"{column} as {name}" for column, name in self.read_as.items())
        return value


def notes_on(
    counts: ImportCounts, layout: Layout, thoughts: Mapping[str, int], groups: int, tokenized: bool
) -> Iterator[str]:
    """What may not be what people expect, in one sentence or two each."""
    yield from notes.references(counts.references, groups)
    yield from notes.no_tokens(tokenized or counts.sampled_tokens > 0)
    yield from notes.truncation(counts.finish_reasons["length"], counts.samples)
    if counts.has_rewards:
        yield from notes.unscored(counts.samples - counts.rewards, counts.samples)
    if counts.unknown_endings:
        ending = ", with an end-of-turn token after it" if tokenized else ""
        yield (
            f"{counts.unknown_endings:,} responses have no finish reason: each counts as finished{ending}. Where "
            "responses were cut, give a column finish_reasons."
        )
    if layout.perhaps_rewards:
        names = layout.perhaps_rewards
        yield (
            f"Columns {', '.join(names)} are numbers, and which of them is the reward is unknown: no scores were "
            f"written. Name it with --map {names[0]}=reward."
        )
    if counts.rendered_prompts.total():
        yield _rendered(counts.rendered_prompts)
    for name, number in counts.differing.items():
        yield (
            f"Column '{name}' differs between the samples of {number:,} of {groups:,} prompts, so it is left out "
            f"there. To keep their samples apart: --group-by {name}."
        )
    references, responses = thoughts.get("references missing", 0), thoughts.get("responses missing", 0)
    if references or responses:
        yield (
            f"{some(references, 'reference', 'references')} and {some(responses, 'response', 'responses')} have no "
            "reasoning, but the model reasons. Such responses are trained on after an empty thought; such references "
            "are not trained on, unless --reference-reasoning says how. Turn thinking off with --template-arg where "
            "they were written without."
        )


def _rendered(prompts: Mapping[str, int]) -> str:
    """Of prompts that other software wrote as its chat template had rendered them, without the special tokens."""
    divided, left = prompts.get("divided into turns", 0), prompts.get("left as texts", 0)
    text = f"Column 'input' holds prompts as a chat template renders them: {divided:,} were divided into turns"
    if not left:
        return f"{text}."
    return f"{text}, {left:,} are one turn of a user with all of the text. Import token IDs where that is wrong."
