"""`preference-model`: the chance of a completion against the others of its group, by a model of preferences."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import PositiveFloat

from grao_pipeline.arguments import argument
from grao_pipeline.errors import UsageError
from grao_pipeline.methods import method
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime
from grao_pipeline.scoring.rewards.reward_model.classifier_reward import ClassifierReward


@method(
    "arXiv 2410.02197 (GPM)",
    "R_i = mean over j ≠ i of σ(s(i ≻ j) / tau)        s(i ≻ j) = Σ_blocks (v_i0 v_j1 − v_i1 v_j0)\n"
    "v = the 2k outputs of the model for a text, divided by their length with normalize=yes",
    needs="a sequence classifier with an even number of outputs",
)
class PreferenceModel(ClassifierReward):
    """The mean chance of being preferred to the other samples of the group; preferences may run in circles.

    The model is any sequence classifier with 2k outputs: those of the authors have custom code, which is not run
    here; copy their head into `score.weight`. The reward of a sample without others is ½. It suits `sppo`.
    """

    class Arguments(ClassifierReward.Arguments):
        tau: PositiveFloat = argument(0.1, "Temperature of the preferences.")
        normalize: bool = argument(True, "Divide the outputs of each text by their length (L2).")

    arguments: Arguments
    reads_group = True

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        if len(self.outputs) % 2:
            raise UsageError(
                f"{arguments.model} has {len(self.outputs)} outputs; a model of preferences has an even number, two "
                "for each of its blocks.",
                option="reward_arg",
            )

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        """Every text of a prompt is read once."""
        texts: dict[tuple[object, str], Candidate] = {}
        for candidate in candidates:
            for text in (candidate.completion, *candidate.others):
                texts.setdefault(_key(candidate, text), replace(candidate, completion=text))
        vectors = dict(zip(texts, self.logits(list(texts.values())), strict=True))
        for candidate in candidates:
            yield self._judge(*(vectors[_key(candidate, text)] for text in (candidate.completion, *candidate.others)))

    def _judge(self, judged: list[float] | Judgement, *others: list[float] | Judgement) -> Judgement:
        if isinstance(judged, Judgement):
            return judged
        known = [other for other in others if not isinstance(other, Judgement)]
        if not known:
            return Judgement.of(0.5, "no other sample to compare with")
        chances = [preference(self._unit(judged), self._unit(other), self.arguments.tau) for other in known]
        return Judgement.of(sum(chances) / len(chances), f"compared with {len(known)} of {len(others)} others")

    def _unit(self, vector: Sequence[float]) -> list[float]:
        length = math.hypot(*vector) if self.arguments.normalize else 1.0
        return [value / (length or 1.0) for value in vector]


def preference(one: Sequence[float], other: Sequence[float], tau: float) -> float:
    """P(one ≻ other) = σ(s / tau). Args: one, other: [2k]."""
    score = sum(one[k] * other[k + 1] - one[k + 1] * other[k] for k in range(0, len(one), 2))
    return (1 + math.tanh(score / tau / 2)) / 2  # σ, for any size of the score


def _key(candidate: Candidate, text: str) -> tuple[object, str]:
    return repr(candidate.messages), text
