"""`self-consistency`: how many samples of the group give the same answer."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.scoring.rewards.answer_markers import last_marked
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward
from grao_pipeline.scoring.rewards.final_number import final_number


@method(
    "arXiv 2510.06783 (TTRV); majority: 2504.16084 (TTRL)",
    "R_i = the share of the group's samples with the answer of o_i\nmajority: 1 for the most frequent answer, else 0",
)
class SelfConsistency(Reward):
    """The share of the group's samples with the same answer; no expected answer is needed.

    It rewards consistency, right or wrong, and means little for fewer than 16 samples. A sample without an answer gets
    0 and agrees with none. The reference is compared with the samples and counts itself. TTRV also subtracts the
    entropy of the group's answers, which is the same for all samples of a group and cancels in every group-relative
    advantage. As a `--feature` it tells the estimator `copo` how much the answers differ. Of several most frequent
    answers each gets 1.
    """

    class Arguments(PluginArguments):
        extract: Literal["number", "marked", "text"] = argument(
            "number", "What the answer is: the final number, the text that is marked as the answer, or the whole text."
        )
        majority: bool = argument(False, "1 for the most frequent answer, 0 for the others.")

    arguments: Arguments
    reads_group = True

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        answer = self._answer(candidate.completion)
        if answer is None:
            return Judgement.of(0.0, "no answer")
        counts = Counter([answer, *(self._answer(text) for text in candidate.others)])
        total = 1 + len(candidate.others)
        counts.pop(None, None)
        detail = f"{counts[answer]} of {total} answer {str(answer)[:100]}"
        if self.arguments.majority:
            return Judgement.of(float(counts[answer] == max(counts.values())), detail)
        return Judgement.of(counts[answer] / total, detail)

    def _answer(self, text: str) -> Hashable | None:
        if self.arguments.extract == "number":
            quantity = final_number(text).quantity
            return None if quantity is None else (quantity.scaled, quantity.percent)
        if self.arguments.extract == "marked":
            marked = last_marked(text, lambda marked: marked.is_complete)
            return None if marked is None else " ".join(marked.text.split()).rstrip(".") or None
        return " ".join(text.split()) or None
