"""DPO (arXiv 2305.18290, Eq. 7) on the best and the worst sample of each group.

Per group, to be minimized, o⁺ and o⁻ the samples with the highest and the lowest combined reward:

    L = −log σ( dpo_beta · [ Σ_t log r_t(o⁺) − Σ_t log r_t(o⁻) ] )        r_t = π_θ(t) / π_behavior(t)

The reference policy is the behavior policy, whose log-probs lie beside the samples: no second model. A group whose
samples all have the same reward has no pair and counts as L = 0; of several best or worst, the first is taken.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from grao_pipeline.training.objectives.base import (
    NO_ARGUMENTS,
    ObjectiveInputs,
    ObjectiveOutputs,
    parse_number,
    take_arguments,
)


class Dpo:
    """DPO. Needs rewards and behavior log-probs of every trained sample; what an advantage's value is (or a token's
    weight) is of no account. References are not trained on.

    Arguments: `dpo_beta` (0.1).
    """

    couples_group = True
    needs_behavior_logprobs = True
    needs_rewards = True
    uses_beta_and_lambda = False

    def __init__(self, beta: float = 0.0, lambda_: float = 0.0, arguments: Mapping[str, str] = NO_ARGUMENTS) -> None:
        taken = take_arguments("dpo", arguments, dpo_beta="0.1")
        self.dpo_beta = parse_number("dpo", "dpo_beta", taken["dpo_beta"], above=0.0)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        log_ratios = inputs.log_ratios().sum(dim=1)
        best, worst = pairs(inputs)
        margins = self.dpo_beta * (log_ratios[best] - log_ratios[worst])
        found = margins.detach()
        return ObjectiveOutputs(
            -torch.nn.functional.logsigmoid(margins).sum(),
            {
                "pairs": torch.full_like(found, 1.0).sum(),
                "pairs_in_order": (found > 0).to(found.dtype).sum(),
                "margin": found.sum(),
            },
        )


def pairs(inputs: ObjectiveInputs) -> tuple[Tensor, Tensor]:
    """Rows of the best and the worst sample of every group that has samples of different rewards. [P] each"""
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
