"""DPO (arXiv 2305.18290, Eq. 7) on the best and the worst sample of each group.

Per group, to be minimized, o⁺ and o⁻ the samples with the highest and the lowest combined reward:

    L = −log σ( dpo_beta · [ Σ_t log r_t(o⁺) − Σ_t log r_t(o⁻) ] )        r_t = π_θ(t) / π_behavior(t)

The reference policy is the behavior policy, whose log-probs are stored with the samples: no second model. A group whose
samples all have the same reward has no pair and counts as L = 0; of several best or worst samples the first is used.
"""

import torch
from pydantic import PositiveFloat
from torch import Tensor

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2305.18290, Eq. 7",
    "L = −log σ(dpo_beta (Σ_t log r_t(o⁺) − Σ_t log r_t(o⁻)))        the best and the worst sample",
    needs="rewards and behavior log-probs",
)
class Dpo(Objective):
    """Prefers the best sample of each group to its worst.

    Needs rewards and behavior log-probs of every trained sample. Neither the value of an advantage nor the weight of a
    token has an effect. References are not trained on.
    """

    class Arguments(PluginArguments):
        dpo_beta: PositiveFloat = argument(0.1, "Scale of the margin between the two samples.")

    arguments: Arguments
    traits = Traits(couples_group=True, needs_behavior_logprobs=True, needs_rewards=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        log_ratios = inputs.log_ratios().sum(dim=1)  # [S]
        best, worst = pairs(inputs)
        margins = self.arguments.dpo_beta * (log_ratios[best] - log_ratios[worst])  # [P]
        detached = margins.detach()
        return ObjectiveOutputs(
            -torch.nn.functional.logsigmoid(margins).sum(),
            {
                "pairs": torch.full_like(detached, 1.0).sum(),
                "pairs_in_order": (detached > 0).to(detached.dtype).sum(),
                "margin": detached.sum(),
            },
        )


def pairs(inputs: ObjectiveInputs) -> tuple[Tensor, Tensor]:
    """Row of the best and row of the worst sample of every group that has samples of different rewards. [P] each"""
    best: list[int] = []
    worst: list[int] = []
    rewards = inputs.rewards.tolist()
    rows: dict[int, list[int]] = {}
    for row, (group, is_reference) in enumerate(zip(inputs.group.tolist(), inputs.is_reference.tolist(), strict=True)):
        if not is_reference:
            rows.setdefault(group, []).append(row)
    for samples in rows.values():
        high, low = max(samples, key=rewards.__getitem__), min(samples, key=rewards.__getitem__)
        if rewards[high] > rewards[low]:
            best.append(high)
            worst.append(low)
    device = inputs.rewards.device
    return torch.tensor(best, dtype=torch.long, device=device), torch.tensor(worst, dtype=torch.long, device=device)
