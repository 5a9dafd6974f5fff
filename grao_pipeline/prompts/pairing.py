"""Rows that are one answer each, of the same prompt → one prompt with a reference and a rejected answer."""

from dataclasses import dataclass, field, replace

from grao_pipeline.fingerprints import fingerprint, message_key
from grao_pipeline.prompts.base import DroppedRow, Prompt, Row

CONTRADICTION = "its answer is labeled both desirable and undesirable"
SPARE = "its prompt has no desirable answer left to pair it with"
REPEATED = "exact duplicate of an earlier row"


@dataclass(frozen=True)
class RatedRow:
    """A row with one answer: its prompt has a reference or a rejected answer, not both.

    Attributes:
        number: of the row, among those that were read.
    """

    number: int
    row: Row
    prompt: Prompt


@dataclass
class _Answers:
    desirable: list[RatedRow] = field(default_factory=list)
    undesirable: list[RatedRow] = field(default_factory=list)


class Pairing:
    """Collects answers by prompt, and pairs the i-th desirable one with the i-th undesirable one.

    A prompt with desirable answers alone has no rejected answer. One with undesirable answers alone has no reference,
    and the first of them is its rejected answer. An answer with both labels is a reference and never rejected.

    Attributes:
        num_paired: rows that became a part of the prompt of another row.
        left_out: rows that did not, each with the reason.
    """

    def __init__(self) -> None:
        self.num_paired = 0
        self.left_out: list[tuple[RatedRow, str]] = []
        self._by_prompt: dict[str, _Answers] = {}

    def add(self, rated: RatedRow) -> None:
        """Add a row.

        Raises:
            DroppedRow: an earlier row is the same.
        """
        prompt = rated.prompt
        key = fingerprint([[message_key(message) for message in prompt.messages], prompt.tools])
        answers = self._by_prompt.setdefault(key, _Answers())
        side = answers.desirable if prompt.reference is not None else answers.undesirable
        if any(prompt == other.prompt for other in side):
            raise DroppedRow(REPEATED)
        side.append(rated)

    def prompts(self) -> list[Prompt]:
        """The prompts, in the order of the first row of each. To be called once, after the last row."""
        return [prompt for answers in self._by_prompt.values() for prompt in self._paired(answers)]

    def _paired(self, answers: _Answers) -> list[Prompt]:
        references = {rated.prompt.reference for rated in answers.desirable}
        undesirable = []
        for rated in answers.undesirable:
            if rated.prompt.rejected in references:
                self.left_out.append((rated, CONTRADICTION))
            else:
                undesirable.append(rated)
        prompts = [rated.prompt for rated in answers.desirable or undesirable[:1]]
        num_used = min(len(prompts), len(undesirable))
        self.left_out += [(rated, SPARE) for rated in undesirable[num_used:]]
        if not answers.desirable:
            return prompts
        self.num_paired += num_used
        pairs = zip(prompts, undesirable, strict=False)
        return [*(replace(prompt, rejected=rated.prompt.rejected) for prompt, rated in pairs), *prompts[num_used:]]
