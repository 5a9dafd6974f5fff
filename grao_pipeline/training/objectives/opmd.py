"""OPMD, policy mirror descent on stored samples, in its simple form.

Per group, to be maximized:

    J = (1/G) Σ_i (R_i − mean R) ℓ(o_i) / (1 + tau)

Kimi k1.5 (arXiv 2501.12599) minimizes the squared error of R − τ log Z = τ log(π_θ / π_behavior). This is not
that loss but what Trinity-RFT (arXiv 2505.17826) derives from it and ships as its plain `opmd`: the baseline τ log Z
is the mean reward of the group, and the regularization towards the behavior policy, taken at the current one, is the
factor 1 / (1 + tau). So tau scales the step alone. ℓ is the mean log-prob per token of each sample, as in GRAO, where
Trinity-RFT averages over the tokens of the batch.
"""

from collections.abc import Mapping

import torch

from grao_pipeline.training.objectives.base import (
    NO_ARGUMENTS,
    ObjectiveInputs,
    ObjectiveOutputs,
    parse_number,
    take_arguments,
)


class Opmd:
    """OPMD. Needs the reward of every trained sample; its weight is made from rewards, the advantages only say which
    samples are trained on. References are not. No importance ratio, so no behavior log-probs.

    Arguments: `tau` (1).
    """

    is_linear = True
    needs_rewards = True
    takes_corrections = True
    uses_beta_and_lambda = False

    def __init__(self, beta: float = 0.0, lambda_: float = 0.0, arguments: Mapping[str, str] = NO_ARGUMENTS) -> None:
        self.tau = parse_number("opmd", "tau", take_arguments("opmd", arguments, tau="1")["tau"], lowest=0.0)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        weights = (inputs.rewards - inputs.group_mean_reward) / inputs.group_size.clamp(min=1) / (1 + self.tau)
        weights = torch.where(inputs.is_reference, 0.0, weights)
        return ObjectiveOutputs(-(weights * inputs.weighted_mean_logprobs()).sum(), {})
