"""From candidates to judgements: many questions at once, and judgements in the order of the candidates."""

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
    """How a candidate is judged: by questions, and by a conclusion from the replies to all of them."""

    questions: Sequence[Question]
    conclude: Callable[[Sequence[Reply]], Judgement]
    """If it raises NoAnswer, that becomes the judgement."""


@dataclass(frozen=True)
class _AskedCase:
    """A case whose questions have been asked."""

    case: Case
    numbers: list[int]
    """Numbers of its questions, in order; a question that an earlier case asked has the number that it got there."""
    first_asked: set[int]
    """Numbers of the questions that no earlier case had asked."""


def judge_in_order(
    model: ChatModel, candidates: Sequence[Candidate], case_of: Callable[[Candidate], Case | Judgement]
) -> Iterator[Judgement]:
    """One judgement per candidate, yielded as soon as it and all judgements before it are known.

    Equal questions are asked once; their tokens count for the first candidate that needed them.

    Args:
        case_of: gives the questions about a candidate, or a judgement that needs none; an InputError becomes the
            judgement.

    Raises:
        StageFailure: the engine died, or lost a question.
    """
    cases: list[_AskedCase | Judgement] = []
    numbers: dict[str, int] = {}  # content of a question → its number
    replies: dict[int, Reply] = {}

    def questions() -> Iterator[Question]:
        for candidate in candidates:
            try:
                case = case_of(candidate)
            except InputError as error:
                case = Judgement(None, "error", str(error))
            if isinstance(case, Judgement):
                cases.append(case)
                continue
            keys = [fingerprint([list(question.messages), question.schema]) for question in case.questions]
            new = {key: question for key, question in zip(keys, case.questions, strict=True) if key not in numbers}
            for key in new:
                numbers[key] = len(numbers)
            cases.append(_AskedCase(case, [numbers[key] for key in keys], {numbers[key] for key in new}))
            yield from new.values()

    num_judged = 0
    with closing(model.ask(questions())) as numbered_replies:
        for number, reply in numbered_replies:
            replies[number] = reply
            while num_judged < len(cases) and _is_answered(cases[num_judged], replies):
                yield _conclusion(cases[num_judged], replies)
                num_judged += 1
    for asked_case in cases[num_judged:]:
        if not _is_answered(asked_case, replies):
            raise StageFailure(f"The judge's engine replied to {len(replies)} of {len(numbers)} questions.")
        yield _conclusion(asked_case, replies)


def questions_about(
    candidates: Sequence[Candidate], case_of: Callable[[Candidate], Case | Judgement]
) -> Iterator[Question]:
    """The questions about all candidates, equal ones again; none about a candidate that cannot be judged."""
    for candidate in candidates:
        try:
            case = case_of(candidate)
        except InputError:  # it becomes the judgement when the candidate is judged
            continue
        if isinstance(case, Case):
            yield from case.questions


def _is_answered(case: _AskedCase | Judgement, replies: Mapping[int, Reply]) -> bool:
    return isinstance(case, Judgement) or all(number in replies for number in case.numbers)


def _conclusion(case: _AskedCase | Judgement, replies: Mapping[int, Reply]) -> Judgement:
    if isinstance(case, Judgement):
        return case
    tokens = sum(replies[number].prompt_tokens + replies[number].completion_tokens for number in case.first_asked)
    try:
        judgement = case.case.conclude([replies[number] for number in case.numbers])
    except NoAnswer as error:
        judgement = Judgement(None, error.status, error.detail)
    return replace(judgement, tokens=tokens)
