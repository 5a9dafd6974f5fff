"""From candidates to judgements: questions asked in any number at once, judgements given in the candidates' order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from grao_pipeline.errors import InputError, StageFailure
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.scoring.judges.answer_format import NoAnswer
from grao_pipeline.scoring.judges.base import ChatModel, Question, Reply
from grao_pipeline.scoring.rewards.base import Candidate, Judgement


@dataclass(frozen=True)
class Case:
    """What it takes to judge a candidate: questions, and what follows from the replies to all of them."""

    questions: Sequence[Question]
    conclude: Callable[[Sequence[Reply]], Judgement]
    """A NoAnswer that it raises becomes the judgement."""


@dataclass(frozen=True)
class _OpenCase:
    """A case whose questions have been asked."""

    case: Case
    numbers: list[int]
    """Of its questions, in their order; one that an earlier case asked has the number that it got there."""
    first_asked: set[int]
    """The numbers of those that no earlier case had asked."""


def judge_in_order(
    model: ChatModel, candidates: Sequence[Candidate], case_of: Callable[[Candidate], Case | Judgement]
) -> Iterator[Judgement]:
    """One judgement per candidate, each yielded when it and all before it are known.

    Equal questions are asked once, and their tokens are those of the first candidate that needed them.

    Args:
        case_of: the questions about a candidate, or a judgement that needs none; an InputError becomes one.

    Raises:
        StageFailure: the engine died, or lost a question.
    """
    cases: list[_OpenCase | Judgement] = []
    numbers: dict[str, int] = {}  # of the questions, by their content
    replies: dict[int, Reply] = {}

    def questions() -> Iterator[Question]:
        for candidate in candidates:
            try:
                found = case_of(candidate)
            except InputError as error:
                found = Judgement(None, "error", str(error))
            if isinstance(found, Judgement):
                cases.append(found)
                continue
            keys = [fingerprint([list(question.messages), question.schema]) for question in found.questions]
            new = {key: question for key, question in zip(keys, found.questions, strict=True) if key not in numbers}
            for key in new:
                numbers[key] = len(numbers)
            cases.append(_OpenCase(found, [numbers[key] for key in keys], {numbers[key] for key in new}))
            yield from new.values()

    num_judged = 0
    with closing(model.ask(questions())) as answered:
        for number, reply in answered:
            replies[number] = reply
            while num_judged < len(cases) and _is_answered(cases[num_judged], replies):
                yield _conclusion(cases[num_judged], replies)
                num_judged += 1
    for case in cases[num_judged:]:
        if not _is_answered(case, replies):
            raise StageFailure(f"The judge's engine replied to {len(replies)} of {len(numbers)} questions.")
        yield _conclusion(case, replies)


def _is_answered(case: _OpenCase | Judgement, replies: Mapping[int, Reply]) -> bool:
    return isinstance(case, Judgement) or all(number in replies for number in case.numbers)


def _conclusion(case: _OpenCase | Judgement, replies: Mapping[int, Reply]) -> Judgement:
    if isinstance(case, Judgement):
        return case
    tokens = sum(replies[number].prompt_tokens + replies[number].completion_tokens for number in case.first_asked)
    try:
        judgement = case.case.conclude([replies[number] for number in case.numbers])
    except NoAnswer as error:
        judgement = Judgement(None, error.status, error.detail)
    return replace(judgement, tokens=tokens)
