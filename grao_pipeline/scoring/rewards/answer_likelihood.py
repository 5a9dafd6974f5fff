"""`answer-likelihood`: how likely another model finds the answer after reading the sample."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Literal

from grao_pipeline.arguments import argument
from grao_pipeline.errors import InputError
from grao_pipeline.methods import method
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from grao_pipeline.scoring.rewards.expected import NoExpectedAnswer, expected_text
from grao_pipeline.scoring.rewards.token_model import TokenModelReward

Pair = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a context and of the answer after it."""


@method(
    "Listener-rewarded thinking; the verifier-free rewards of arXiv 2506.18254 (RLPR) and 2505.21493 (VeriFree)",
    "R = mean_t P(y_t | prompt, o, y_<t)        form=geometric: exp(mean_t log P)\n"
    "baseline=yes: minus the same without o",
    needs="the expected answer y: a field of the metadata, or the reference",
)
class AnswerLikelihood(TokenModelReward):
    """The mean probability of the expected answer's tokens, read by a language model after the sample.

    No verifier is needed: any answer that is a text will do. The sample stands as the beginning of the assistant's
    answer, then come `before` and the expected answer.

    null: `truncated` where the model has too few positions; `error` without an expected answer.
    """

    class Arguments(TokenModelReward.Arguments):
        form: Literal["mean", "geometric"] = argument("mean", "Mean of the probabilities: arithmetic or geometric.")
        baseline: bool = argument(False, "Subtract the same without the sample.")
        field: str = argument("reference", "Metadata key of the expected answer; `reference` stands for the reference.")
        before: str = argument("\nAnswer: ", "Text between the sample and the expected answer.")

    arguments: Arguments

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        pairs = [self._pairs(candidate) for candidate in candidates]
        known = [of for of in pairs if not isinstance(of, Judgement)]
        likelihoods = self._likelihoods(list(dict.fromkeys(chain(*known))))
        return [
            of if isinstance(of, Judgement) else self._judgement([likelihoods[pair] for pair in of]) for of in pairs
        ]

    def _likelihoods(self, rows: Sequence[Pair]) -> dict[Pair, float]:
        torch = require("torch")
        places = [range(len(context) - 1, len(context) + len(answer) - 1) for context, answer in rows]
        likelihoods: dict[Pair, float] = {}
        for index, logits in self._model.logits([[*context, *answer] for context, answer in rows], places):
            targets = torch.tensor(rows[index][1])[:, None]
            logprobs = torch.log_softmax(logits, dim=-1).gather(-1, targets)[:, 0].double()
            is_mean = self.arguments.form == "mean"
            likelihoods[rows[index]] = float(logprobs.exp().mean()) if is_mean else math.exp(float(logprobs.mean()))
        return likelihoods

    def _judgement(self, values: Sequence[float]) -> Judgement:
        detail = f"{values[0]:.4g}" + "".join(f", {value:.4g} without the sample" for value in values[1:])
        return Judgement.of(values[0] - sum(values[1:]), detail)

    def _pairs(self, candidate: Candidate) -> list[Pair] | Judgement:
        """With the sample and, for the baseline, without it; or why there is no reward."""
        try:
            answer = self._answer(candidate)
            prompt = self._model.prompt_ids(candidate.messages)
        except NoExpectedAnswer as error:
            return error.judgement()
        except InputError as error:
            return Judgement(None, "error", str(error))
        ids, before = tuple(self._model.text_ids(answer)), self.arguments.before
        texts = [candidate.completion + before, *([before] if self.arguments.baseline else [])]
        contexts = [(*prompt, *self._model.text_ids(text)) for text in texts]
        longest, limit = max(map(len, contexts)) + len(ids), self._model.max_length
        if not ids or not all(contexts):
            return Judgement(None, "error", "the expected answer, or what precedes it, is an empty text")
        if limit is not None and longest > limit:
            return Judgement(None, "truncated", f"{longest} tokens; the model reads {limit}")
        return [(context, ids) for context in contexts]

    def _answer(self, candidate: Candidate) -> str:
        if self.arguments.field != "reference":
            return expected_text(candidate.metadata, self.arguments.field)
        if candidate.reference is None:
            raise NoExpectedAnswer("no reference whose likelihood could be computed")
        return candidate.reference
