"""What rewards and judges see of completions and references: their answers, without the reasoning."""

from collections.abc import Sequence
from typing import Literal

from grao_pipeline.contract import Row
from grao_pipeline.models.reasoning import THINK, Marks


class SeenTexts:
    """Rows of groups as rewards see them.

    Args:
        score_on: `answer` removes reasoning, `all` keeps the texts as they are.
        marks: the beginning and the end of the model's reasoning, where the groups say so.
    """

    def __init__(self, score_on: Literal["answer", "all"], marks: Sequence[str] | None) -> None:
        self._is_everything = score_on == "all"
        self._marks = [Marks(marks[0], marks[1])] if marks else []
        self._marks += [] if THINK in self._marks else [THINK]

    def row(self, row: Row) -> Row:
        """The row with the texts that rewards see: an answer is empty where the reasoning never ends. Groups that do
        not know their answers (imported ones, older ones) are split where they have `<think>`.

        `starts` says where in each completion that text begins; None where it is not a single stretch of it.
        """
        if self._is_everything:
            return {**row, "starts": [0] * len(row["completions"])}
        answers = row["answers"] or [None] * len(row["completions"])
        reasoning = row["reasoning"] or [None] * len(row["completions"])
        reference = row["reference"]
        texts = [
            self._answer(text) if answer is None and thought is None else answer or ""
            for text, answer, thought in zip(row["completions"], answers, reasoning, strict=True)
        ]
        starts = [_start(whole, text) for whole, text in zip(row["completions"], texts, strict=True)]
        answer = None if reference is None else self._answer(reference)
        return {**row, "completions": texts, "starts": starts, "reference": answer}

    def _answer(self, text: str) -> str:
        for marks in self._marks:
            split = marks.split(text)
            if split != (None, text):
                return split.answer or ""
        return text


def _start(whole: str, text: str) -> int | None:
    place = whole.rfind(text)
    return None if place < 0 else place
