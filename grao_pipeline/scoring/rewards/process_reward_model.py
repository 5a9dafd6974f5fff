"""`process-reward-model`: a token classifier that judges every step of a completion."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from grao_pipeline.arguments import argument
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.methods import method
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime
from grao_pipeline.scoring.rewards.token_model import TokenModelReward
from grao_pipeline.scoring.steps import Step

AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "mean": lambda values: sum(values) / len(values),
    "product": math.prod,
    "last": lambda values: values[-1],
}


@method(
    "arXiv 2305.20050; 2312.08935 (Math-Shepherd)",
    "r_k = P(label | prompt, steps up to k), at the last token of the separator after step k\n"
    "R = min_k r_k, or their mean, product, or the last",
    needs="a token classifier, as TRL's PRMTrainer trains it",
)
class ProcessRewardModel(TokenModelReward):
    """The reward of a completion's weakest step, and of every step, for `--feature` and `--token-weights process`.

    Steps are what stands between separators, empty ones left out. The model reads the prompt under its chat template,
    then every step followed by the separator; its output at the separator's last token is the step's.

    null: `truncated` where the model has too few positions. A completion without a step gets `unparsable`.
    """

    class Arguments(TokenModelReward.Arguments):
        separator: str = argument(
            "\\n",
            "What ends a step in the completion and in the model's input; \\n is a line's end.",
            min_length=1,
        )
        label: str | None = argument(None, "The label that says a step is right; default: the model's last one.")
        aggregate: Literal["min", "mean", "product", "last"] = argument("min", "The reward from those of the steps.")

    arguments: Arguments
    kind = "token"

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._separator = arguments.separator.replace("\\n", "\n")
        labels = [str(self._model.config.id2label[index]) for index in range(self._model.config.num_labels)]
        if arguments.label is not None and arguments.label not in labels:
            raise UsageError(f"label={arguments.label}: the labels are {', '.join(labels)}.", option="reward_arg")
        self._label = len(labels) - 1 if arguments.label is None else labels.index(arguments.label)

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), "label": self._label}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        read = [self._read(candidate) for candidate in candidates]
        rows = [(index, of) for index, of in enumerate(read) if not isinstance(of, Judgement)]
        logits = self._model.logits([of[0] for _, of in rows], [of[1] for _, of in rows])
        softmax = require("torch").softmax
        known = {rows[row][0]: softmax(values.double(), dim=-1)[:, self._label].tolist() for row, values in logits}
        for index, of in enumerate(read):
            yield of if isinstance(of, Judgement) else self._judgement(of[2], known[index])

    def _judgement(self, ends: Sequence[int], rewards: Sequence[float]) -> Judgement:
        steps = [Step(end, reward) for end, reward in zip(ends, rewards, strict=True)]
        detail = " ".join(f"{reward:.3f}" for reward in rewards[:20])
        return Judgement.of(AGGREGATES[self.arguments.aggregate](rewards), detail, steps)

    def _read(self, candidate: Candidate) -> tuple[list[int], list[int], list[int]] | Judgement:
        """(token ids, place of each step's output, where each step ends in the text), or why there is no reward."""
        try:
            ids = self._model.prompt_ids(candidate.messages)
        except InputError as error:
            return Judgement(None, "error", str(error))
        separator = self._model.text_ids(self._separator)
        places, ends, end = [], [], 0
        for piece in candidate.completion.split(self._separator):
            end += len(piece) + len(self._separator)
            if piece.strip():
                ids = [*ids, *self._model.text_ids(piece), *separator]
                places.append(len(ids) - 1)
                ends.append(min(end, len(candidate.completion)))
        if not ends:
            return Judgement(None, "unparsable", "the completion has no step")
        limit = self._model.max_length
        if limit is not None and len(ids) > limit:
            return Judgement(None, "truncated", f"{len(ids)} tokens; the model reads {limit}")
        return ids, places, ends
