"""The ChatModel seam: a judge's questions in, its replies out."""

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from grao_pipeline.options import Device


@dataclass(frozen=True)
class Question:
    """A conversation that a judge is to answer, and the form that its answer must have.

    Example: `Question([{"role": "user", "content": "Is A or B better?"}], answer_schema({"verdict": ["A", "B"]}))`
    """

    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any]
    """JSON schema of the answer, an object; the model is held to it while it writes."""


@dataclass(frozen=True)
class Reply:
    """What a judge said, or why it said nothing.

    Example: `Reply('{"verdict":"A"}', prompt_tokens=412, completion_tokens=7)`
    """

    text: str
    """The judge's words; where it was not asked, the reason."""
    status: str = "ok"
    """`ok`; `truncated` (cut off before its end); `unparsable` (refused, or no words); `error` (could not be asked)."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @staticmethod
    def cut_off(text: str, prompt_tokens: int, completion_tokens: int) -> "Reply":
        """A reply that reached the limit; the verdict may be in it, but nobody can tell."""
        reason = f"cut off at {completion_tokens} tokens (--reward-arg max_tokens): {text}"
        return Reply(reason, "truncated", prompt_tokens, completion_tokens)


@dataclass(frozen=True)
class ChatModelOptions:
    """What a chat model is made from.

    Example: `ChatModelOptions("judge-pairwise", {"base_url": "http://localhost:8000/v1", …}, 512, "auto")`
    """

    reward: str
    """The reward that asks, for messages."""
    arguments: Mapping[str, str]
    """A value for each of its `ARGUMENTS`, and those given as `PREFIX.key`."""
    max_tokens: int
    """Of a reply, whatever a reasoning model thinks before it included."""
    device: Device


def free_values(arguments: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """What was given as `PREFIX.key=value`, by key; values that are JSON as what they are in JSON.

    >>> free_values({"body.seed": "1", "body.reasoning_effort": "low", "base_url": "http://…"}, "body")
    {'seed': 1, 'reasoning_effort': 'low'}
    """
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        given, _, key = name.partition(".")
        if given == prefix and key:
            try:
                found[key] = json.loads(value)
            except ValueError:
                found[key] = value
    return found


class ChatModel(Protocol):
    """Answers questions, at temperature 0. Constructed with `ChatModelOptions`; construction must load no model.

    A new engine is one class in one file and one line in `JUDGE_ENGINES`.
    """

    ARGUMENTS: ClassVar[Mapping[str, str | None]]
    """Its `--reward-arg` names with their defaults; None makes one required."""
    PREFIXES: ClassVar[Sequence[str]]
    """It also takes `PREFIX.key=value`, with any key, for each of these."""

    def identity(self) -> Mapping[str, Any]:
        """What determines the replies, as JSON; not where the model runs nor how fast."""
        ...

    def neutralise(self, text: str) -> str:
        """The text with every control token of the model's chat format taken apart, so that it stays text.

        Raises:
            InputError: that is not possible.
        """
        ...

    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        """Yield (index of the question, its reply), each as soon as it is there, in any order.

        Questions are asked for as there is room for them. What ends the iteration ends the work in flight.

        Raises:
            StageFailure: the engine died; the server is gone.
        """
        ...

    def close(self) -> None:
        """Free the device."""
        ...


class FakeChatModel:
    """A public fake for tests, and the worst of judges: it gives the first answer that the schema allows, so of two
    answers it always prefers A. Named as `engine=grao_pipeline.scoring.judges.base:FakeChatModel`.
    """

    ARGUMENTS: ClassVar[Mapping[str, str | None]] = {}
    PREFIXES: ClassVar[Sequence[str]] = ()

    def __init__(self, options: ChatModelOptions) -> None:
        self.num_asked = 0

    def identity(self) -> Mapping[str, Any]:
        return {"model": "fake"}

    def neutralise(self, text: str) -> str:
        return text

    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        for index, question in enumerate(questions):
            self.num_asked += 1
            fields = question.schema["properties"].items()
            answer = {name: field["enum"][0] if "enum" in field else "because" for name, field in fields}
            yield index, Reply(json.dumps(answer), prompt_tokens=10, completion_tokens=5)

    def close(self) -> None:
        pass
