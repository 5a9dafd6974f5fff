"""`judge-rubric`: a language model's score of the completion, 1 to 10 by one or more criteria."""

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Annotated

from pydantic import BeforeValidator

from grao_pipeline.arguments import argument
from grao_pipeline.scoring.judges.answer_format import EXPLANATION, read_answer
from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.judges.criteria import criterion_text
from grao_pipeline.scoring.judges.dispatch import Case
from grao_pipeline.scoring.judges.judge import Judge, JudgeArguments
from grao_pipeline.scoring.judges.untrusted_text import TextBlock, conversation_blocks
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime

SCORES = tuple(range(1, 11))
CRITERION_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
ONLY_CRITERION = "score"

RULES = """\
You are an impartial judge. You are shown a conversation and an answer to its last turn, and you score the answer by \
{count}, and by nothing else. A score is a whole number: 1 fails entirely, 4 has serious faults, 7 is good with small \
faults, 10 could not be better.

{criteria}"""

TASK = """\
How good is the answer by {count}? Length is no merit in itself."""


def named_criteria(given: str | Mapping[str, object]) -> dict[str, str]:
    """The texts of the criteria by their names.

    Raises:
        ValueError: a name or a criterion cannot work.
    """
    if isinstance(given, str):
        return {ONLY_CRITERION: criterion_text(given)}
    for name in given:
        if not CRITERION_NAME.fullmatch(name) or name == EXPLANATION:
            raise ValueError(
                f"criterion.{name} cannot be a name: use small letters, digits and underscores, not '{EXPLANATION}'"
            )
    return {name: criterion_text(str(text)) for name, text in given.items()}


class RubricJudge(Judge):
    """The mean of the judge's scores by one or more criteria, from 1 (fails entirely) to 10 (could not be better).

    The reward stays on the judge's scale, so that a table reads as the judge meant it; advantages are relative to the
    group's mean and deviation. Mind that range when you combine it with other rewards.
    The reference is scored like any completion; the judge never sees it next to one.
    """

    class Arguments(JudgeArguments):
        criterion: Annotated[dict[str, str], BeforeValidator(named_criteria)] = argument(
            "helpful",
            "helpful, harmless, or a sentence of your own; or several as criterion.NAME=…, e.g. "
            "criterion.correct='Every statement is true'.",
            validate_default=True,
        )

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._criteria = criteria = arguments.criterion
        self._choices = dict.fromkeys(criteria, SCORES)
        count = "one criterion" if len(criteria) == 1 else f"{len(criteria)} criteria"
        lines = "\n".join(f'"{name}": {text}' for name, text in criteria.items())
        self._rules = RULES.format(count=count, criteria=f"The criteria:\n{lines}")
        self._task = TASK.format(count="the criterion" if len(criteria) == 1 else "each criterion, taken by itself")

    def identity(self) -> Mapping[str, object]:
        specimen = _blocks([{"role": "user", "content": "question"}], "answer")
        prompt = self._prompt.fingerprint(self._rules, specimen, self._task, self._choices)
        return {**super().identity(), "prompt": prompt, "criteria": self._criteria}

    def _case(self, candidate: Candidate) -> Case:
        blocks = _blocks(candidate.messages, candidate.completion)
        return Case([self._prompt.question(self._rules, blocks, self._task, self._choices)], self._conclude)

    def _conclude(self, replies: Sequence[Reply]) -> Judgement:
        [reply] = replies
        return Judgement.of(fmean(read_answer(reply, self._choices).values()), reply.text)


def _blocks(messages: Sequence[Mapping[str, str]], answer: str) -> list[TextBlock]:
    return [*conversation_blocks(messages), TextBlock("the answer", answer)]
