"""DPO on a sample and its edited form, with more weight on the tokens that were changed."""

from collections.abc import Iterator
from difflib import SequenceMatcher

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import logsigmoid

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.objectives.pairs import pair_sums


@method(
    "arXiv 2408.07471 (BMC)",
    "L = −log σ(pair_beta (u(y) − u(o)))        u = Σ_t f_t log r_t, o the sample that y was edited from\n"
    "f_t = 1 + min(1 / π_θ(t), delta) without a gradient for a token that the edit changed, else 1",
    needs="references that are edited samples, with an advantage, and --logprobs NAME=TABLE of the reference model",
    options="--logprobs NAME=TABLE",
)
class BridgedPair(Objective):
    """Prefers a reference to the sample that it was edited from: the one with the fewest changed tokens.

    `grao references` writes edited texts with a teacher; the changed tokens are those of a diff of the token ids.
    Groups without a reference have no loss.
    """

    class Arguments(PluginArguments):
        against: str = argument(..., "NAME of the --logprobs of the reference model.", examples=["NAME"])
        pair_beta: PositiveFloat = argument(0.1, "β: scale of the margin.")
        delta: PositiveFloat = argument(2.0, "Largest addition to the weight of a changed token.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_references=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        ratios = inputs.log_ratios_to(self.arguments.against)
        margins = [
            self._score(inputs, ratios, winner, of_winner) - self._score(inputs, ratios, loser, of_loser)
            for winner, loser, of_winner, of_loser in _pairs(inputs)
        ]
        margin = torch.stack(margins) if margins else ratios.new_zeros(0)
        losses = -logsigmoid(self.arguments.pair_beta * margin)
        loss = losses.sum() if margins else 0.0 * ratios.sum()
        return ObjectiveOutputs(loss, pair_sums(margin, torch.ones_like(margin)))

    def _score(self, inputs: ObjectiveInputs, ratios: Tensor, row: int, changed: list[int]) -> Tensor:
        """u of a sequence. []"""
        factors = torch.ones_like(ratios[row])
        inverse = (-inputs.token_logprobs[row].detach()).exp().clamp(max=self.arguments.delta)
        factors[changed] += inverse[changed]
        return (factors * inputs.token_weights[row] * ratios[row]).sum()


def _pairs(inputs: ObjectiveInputs) -> Iterator[tuple[int, int, list[int], list[int]]]:
    """(row of a reference, row of its sample, the changed tokens of both), of every group that has one."""
    assert inputs.token_ids is not None
    lengths = inputs.token_mask.sum(dim=1).tolist()
    ids = [row[:length] for row, length in zip(inputs.token_ids.tolist(), lengths, strict=True)]
    samples = {int(inputs.group[rows[0]]): rows for rows in inputs.rows_of_groups()}
    for winner in inputs.is_reference.nonzero()[:, 0].tolist():
        edits = [(_changed(ids[winner], ids[row]), row) for row in samples.get(int(inputs.group[winner]), ())]
        if edits:
            (of_winner, of_loser), loser = min(edits, key=lambda edit: sum(map(len, edit[0])))
            yield winner, loser, of_winner, of_loser


def _changed(winner: list[int], loser: list[int]) -> tuple[list[int], list[int]]:
    """Places of the tokens that differ, in both."""
    places: tuple[list[int], list[int]] = ([], [])
    for tag, *bounds in SequenceMatcher(None, winner, loser, autojunk=False).get_opcodes():
        if tag != "equal":
            places[0].extend(range(*bounds[:2]))
            places[1].extend(range(*bounds[2:]))
    return places
