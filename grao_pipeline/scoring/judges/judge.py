"""What the rewards that ask a language model share: their arguments, the engine, the order of judgements."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from pydantic import PositiveInt, create_model

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.errors import UsageError
from grao_pipeline.plugins import load, source_of
from grao_pipeline.scoring.judges import JUDGE_ENGINES
from grao_pipeline.scoring.judges.base import ChatModel, ChatModelOptions
from grao_pipeline.scoring.judges.dispatch import Case, judge_in_order, questions_about
from grao_pipeline.scoring.judges.prompt import JudgePrompt
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime


class JudgeArguments(PluginArguments):
    """Arguments of every judge; those of its engine are given together with them."""

    engine: str | None = argument(
        None,
        "Engine that asks the model: vllm, openai, or your own as module:attribute. Its arguments are given in the "
        "same way (grao plugins show vllm). Default: openai where base_url is given, else vllm.",
    )
    max_tokens: PositiveInt = argument(512, "Limit of a reply in tokens, including a reasoning model's thoughts.")
    explain: bool = argument(False, "Let the judge write an explanation before its verdict.")
    system_role: bool = argument(True, "Send the rules as a system message; false: at the top of the question.")


class Judge(Reward):
    """A language model that judges candidates by the questions of a subclass.

    Raises:
        UsageError: the engine is unknown, or an argument cannot work.
    """

    Arguments: ClassVar[type[PluginArguments]] = JudgeArguments

    def __init__(self, arguments: JudgeArguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        options = ChatModelOptions(arguments.max_tokens, runtime.device, runtime.progress, runtime.batches)
        self._model = engine_class(dict(arguments))(arguments, options)
        self._prompt = JudgePrompt(self._model.neutralize, arguments.explain, arguments.system_role)
        self._settings = {"max_tokens": arguments.max_tokens, "explain": arguments.explain}

    @classmethod
    def arguments_model(cls, given: Mapping[str, str]) -> type[PluginArguments]:
        """The judge's arguments and those of the engine that `given` names."""
        model = create_model(cls.__name__, __base__=(cls.Arguments, engine_class(given).Arguments))
        if not given.get("engine") and not given.get("base_url"):
            model.instead = {"base_url": engine_class({"engine": "openai"}).Arguments}
        return model

    @classmethod
    def max_questions(cls, arguments: PluginArguments, num_samples: int) -> int:
        """Most questions about one sequence of a group of `num_samples`."""
        return 1

    def identity(self) -> Mapping[str, object]:
        return {**self._model.identity(), **source_of("judge_engine", type(self._model)), **self._settings}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        return judge_in_order(self._model, candidates, self._case)

    def num_devices(self) -> int:
        return self._model.num_devices()

    def takes_batches(self) -> bool:
        return self._model.takes_batches

    def ask_ahead(self, candidates: Sequence[Candidate]) -> None:
        self._model.ask_ahead(questions_about(candidates, self._case))

    def stored(self) -> None:
        self._model.stored()

    def remarks(self) -> list[str]:
        return self._model.remarks()

    def close(self) -> None:
        self._model.close()

    @abstractmethod
    def _case(self, candidate: Candidate) -> Case | Judgement:
        """The questions about a candidate, or a judgement that needs none.

        Raises:
            InputError: the candidate cannot be judged; it becomes the judgement.
        """


def engine_class(arguments: Mapping[str, str]) -> type[ChatModel]:
    """The class of the engine that a judge's arguments name, or imply.

    Raises:
        UsageError: it is unknown, or not a ChatModel.
    """
    name = arguments.get("engine") or ("openai" if arguments.get("base_url") else "vllm")
    try:
        engine: object = load("judge_engine", name, JUDGE_ENGINES)
    except UsageError as error:
        raise UsageError(error.message, option="reward_arg") from error
    if not isinstance(engine, type) or not issubclass(engine, ChatModel):
        raise UsageError(
            f"engine={name}: not a class that derives from grao_pipeline.scoring.judges.base.ChatModel.",
            option="reward_arg",
        )
    return engine
