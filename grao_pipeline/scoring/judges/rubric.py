"""`judge-rubric`: how good is the completion in itself, 1 to 10 by one or more criteria? Says a language model."""

import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.judges.answer_format import EXPLANATION, read_answer
from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.judges.criteria import criterion_text
from grao_pipeline.scoring.judges.dispatch import Case
from grao_pipeline.scoring.judges.prompt import Judge
from grao_pipeline.scoring.judges.untrusted_text import Block, conversation_blocks
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime

NAME = "judge-rubric"
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


class JudgeRubric:
    """The mean of the judge's scores, 1 (fails entirely) to 10 (could not be better), one for each criterion.

    The reward stays on the scale that the judge was given, so that a table reads as the judge meant it; advantages are
    relative to the group's own mean and deviation. Beside other rewards, weigh it with that range in mind.
    The reference is scored like any completion, and shown with none.

    Arguments: criterion (helpful): `helpful`, `harmless`, or a sentence of one's own; or several as
    criterion.NAME=…, e.g. `criterion.correct='Every statement is true.'`.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        self._judge = Judge(NAME, arguments, runtime, {"criterion": ""}, prefixes=("criterion",))
        self._criteria = criteria = _criteria(self._judge.arguments["criterion"], self._judge.free_arguments)
        self._choices = dict.fromkeys(criteria, SCORES)
        count = "one criterion" if len(criteria) == 1 else f"{len(criteria)} criteria"
        listed = "\n".join(f'"{name}": {text}' for name, text in criteria.items())
        self._rules = RULES.format(count=count, criteria=f"The criteria:\n{listed}")
        self._task = TASK.format(count="the criterion" if len(criteria) == 1 else "each criterion, taken by itself")

    def identity(self) -> Mapping[str, Any]:
        specimen = _blocks([{"role": "user", "content": "question"}], "answer")
        judge = self._judge.identity(self._rules, specimen, self._task, self._choices)
        return {**judge, "criteria": self._criteria}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        return self._judge.judge(candidates, self._case)

    def close(self) -> None:
        """Free the judge's device."""
        self._judge.model.close()

    def _case(self, candidate: Candidate) -> Case:
        blocks = _blocks(candidate.messages, candidate.completion)
        question = self._judge.question(self._rules, blocks, self._task, self._choices)
        return Case([question], self._conclude)

    def _conclude(self, replies: Sequence[Reply]) -> Judgement:
        [reply] = replies
        return Judgement.of(fmean(read_answer(reply, self._choices).values()), reply.text)


def _blocks(messages: Sequence[Mapping[str, str]], answer: str) -> list[Block]:
    return [*conversation_blocks(messages), Block("the answer", answer)]


def _criteria(only: str, named: Mapping[str, str]) -> dict[str, str]:
    """The text of each criterion by its name.

    Raises:
        UsageError: both ways of naming them are used; a name is none.
    """
    if not named:
        return {ONLY_CRITERION: criterion_text(only or "helpful")}
    if only:
        raise UsageError(f"Reward '{NAME}' takes --reward-arg criterion=… or criterion.NAME=…, not both.")
    criteria = {key.partition(".")[2]: criterion_text(value) for key, value in named.items()}
    for name in criteria:
        if not CRITERION_NAME.fullmatch(name) or name == EXPLANATION:
            raise UsageError(f"--reward-arg criterion.{name}: a name is small letters, digits and underscores.")
    return criteria
