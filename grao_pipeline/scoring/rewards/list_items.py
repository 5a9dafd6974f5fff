"""`list-items`: a list, one item a line, against the relevant items; every item is a step."""

import math
import re
from collections.abc import Iterator, Sequence

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward
from grao_pipeline.scoring.rewards.expected import NoExpectedAnswer, expected_texts
from grao_pipeline.scoring.steps import Step

BULLET = re.compile(r"\s*(?:[-*•]|\(?\d+[.):])?\s*")


@method(
    "arXiv 2510.20150 (the items of Rank-GRPO)",
    "R = Σ_k rel_k / log₂(k + 1), over the same of the best list        rel_k = 1 for a relevant item, else 0",
    needs="the relevant items in the metadata",
)
class ListItems(Reward):
    """The discounted gain (nDCG) of a list with one item a line; the steps are the items, with rel_k as their rewards.

    Numbers and bullets before an item, and the difference between small and capital letters, do not count; of a
    repeated item only the first is relevant. A text without items gets 0. As a `--feature` it serves the
    `--token-weights` `items`, `gigpo` and `process`.

    null + `error`: the metadata has no relevant items.
    """

    class Arguments(PluginArguments):
        field: str = argument("items", "Metadata key of the list of relevant items.")

    arguments: Arguments

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        try:
            relevant = {_plain(item) for item in expected_texts(candidate.metadata, self.arguments.field)}
        except NoExpectedAnswer as error:
            return error.judgement()
        steps, seen = [], set[str]()
        for item, end in _items(candidate.completion):
            steps.append(Step(end, float(item in relevant and item not in seen)))
            seen.add(item)
        gain = sum((step.reward or 0.0) * _discount(place) for place, step in enumerate(steps))
        best = sum(_discount(place) for place in range(len(relevant)))
        hits = sum(step.reward == 1.0 for step in steps)
        return Judgement.of(gain / best, f"{hits} of {len(relevant)} relevant items among {len(steps)}", steps)


def _items(text: str) -> Iterator[tuple[str, int]]:
    """(item, the number of characters up to the end of its line) of every line with an item."""
    end = 0
    for line in text.splitlines(keepends=True):
        end += len(line)
        if item := _plain(line):
            yield item, end


def _plain(line: str) -> str:
    return BULLET.sub("", line, count=1).strip().casefold()


def _discount(place: int) -> float:
    """Of an item at this place, from 0."""
    return 1 / math.log2(place + 2)
