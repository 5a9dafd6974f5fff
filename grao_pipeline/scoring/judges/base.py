"""The ChatModel seam: a judge's questions in, its replies out."""

import json
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from grao_pipeline.arguments import NoArguments, PluginArguments
from grao_pipeline.options import Device
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.schemas import Status
from grao_pipeline.scoring.judges.control_tokens import neutralize


@dataclass(frozen=True)
class Question:
    """A conversation that a judge is to answer, and the required form of its answer.

    Example: `Question([{"role": "user", "content": "Is A or B better?"}], answer_schema({"verdict": ["A", "B"]}))`
    """

    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any]
    """JSON schema of the answer, an object; it constrains the model while it writes."""


@dataclass(frozen=True)
class Reply:
    """A judge's words, or the reason why it gave none.

    Example: `Reply('{"verdict":"A"}', prompt_tokens=412, completion_tokens=7)`
    """

    text: str
    """The judge's words; with status `error`, the reason."""
    status: Status = "ok"
    """`truncated`: cut off before its end. `unparsable`: refused or empty. `error`: the question could not be asked."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @staticmethod
    def cut_off(text: str, prompt_tokens: int, completion_tokens: int) -> "Reply":
        """A reply that reached the limit. It may contain the verdict, but that cannot be known."""
        reason = f"cut off at {completion_tokens} tokens (--reward-arg max_tokens): {text}"
        return Reply(reason, "truncated", prompt_tokens, completion_tokens)


@dataclass(frozen=True)
class ChatModelOptions:
    """How a judge asks its model.

    Example: `ChatModelOptions(max_tokens=512, device="auto")`
    """

    max_tokens: int
    """Limit of a reply, including a reasoning model's thoughts before it."""
    device: Device
    progress: Progress = SILENT
    """Told what people should know about a server."""
    batches: str | None = None
    """Ask through batches, whose records are kept in this directory; None: ask directly."""


class ChatModel(ABC):
    """Answers questions, at temperature 0.

    A new engine is one class in one file and one line in `JUDGE_ENGINES`. Its construction must load no model.
    """

    Arguments: ClassVar[type[PluginArguments]] = NoArguments
    """Model of the engine's arguments; they are given as `--reward-arg`, together with the judge's."""

    def __init__(self, arguments: PluginArguments, options: ChatModelOptions) -> None:
        self.arguments = arguments
        self.options = options

    @abstractmethod
    def identity(self) -> Mapping[str, object]:
        """Everything that determines the replies, as JSON; not where the model runs nor how fast."""

    def neutralize(self, text: str) -> str:
        """The text with a space inside every control token of the model's chat format, so that it stays text.

        Raises:
            InputError: that is not possible.
        """
        return neutralize(text)

    @abstractmethod
    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        """Yield (index of the question, its reply), each as soon as it is there, in any order.

        Questions are drawn from the iterable only while there is room in flight. Closing the generator ends the work in
        flight.

        Raises:
            StageFailure: the engine died, or the server cannot be reached.
        """

    def num_devices(self) -> int:
        """GPUs that it computes on, where there are any; 0: it needs none."""
        return 0

    takes_batches: ClassVar[bool] = False
    """Whether `ask_ahead` asks through batches."""

    def ask_ahead(self, questions: Iterable[Question]) -> None:
        """Get the replies to all questions that `ask` will be given, at once."""
        raise NotImplementedError

    def stored(self) -> None:
        """Everything that it replied is stored: forget what is remembered for a run that resumes."""
        return

    def remarks(self) -> list[str]:
        """What people should know of how it answered, a sentence each."""
        return []

    def close(self) -> None:
        """Free the device."""
        return


class FakeChatModel(ChatModel):
    """A public fake for tests, and a bad judge: it gives the first answer that the schema allows, so of two answers it
    always prefers A. Named as `engine=grao_pipeline.scoring.judges.base:FakeChatModel`.
    """

    def __init__(self, arguments: PluginArguments, options: ChatModelOptions) -> None:
        super().__init__(arguments, options)
        self.num_asked = 0

    def identity(self) -> Mapping[str, object]:
        return {"model": "fake"}

    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        for index, question in enumerate(questions):
            self.num_asked += 1
            fields = question.schema["properties"].items()
            answer = {name: field["enum"][0] if "enum" in field else "because" for name, field in fields}
            yield index, Reply(json.dumps(answer), prompt_tokens=10, completion_tokens=5)
