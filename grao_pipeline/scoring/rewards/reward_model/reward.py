"""`reward-model`: a Hugging Face sequence-classification model, under its chat template."""

from collections.abc import Iterator, Mapping, Sequence

from grao_pipeline.arguments import argument
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime
from grao_pipeline.scoring.rewards.reward_model.classifier_reward import ClassifierReward
from grao_pipeline.scoring.rewards.reward_model.output import parse_output


class RewardModel(ClassifierReward):
    """The output of a sequence classifier for the conversation that ends in the completion.

    Every sequence gets the score that it would get alone. One that is longer than the model reads is not cut: it gets
    no reward and status `truncated`. If a model has several outputs, a judgement's detail has them all, as JSON.

    Raises:
        InputError: the model does not exist, or is not a sequence classifier.
        UsageError: an argument cannot work.
    """

    class Arguments(ClassifierReward.Arguments):
        output: str | None = argument(
            None, "Output that is the reward, where the model has several: NAME, or NAME:WEIGHT,NAME:WEIGHT."
        )

    arguments: Arguments

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._output = parse_output(arguments.output or "", self.outputs, arguments.model)

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), "output": self._output.weights}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        """In order; every judgement as soon as it and those before it are known."""
        for logits in self.logits(candidates):
            if isinstance(logits, Judgement):
                yield logits
            else:
                yield Judgement.of(self._output.reward(logits), self._output.detail(logits))
