"""On-policy distillation: every token is rewarded by a teacher."""

from pydantic import PositiveFloat

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs, Traits


@method(
    "arXiv 2306.08543; 2306.13649 with on-policy samples and the reverse KL divergence",
    "L = −(1/G) Σ_i mean_t min(r_t, cap) A_t        A_t = log π_teacher(t) − log π_behavior(t), a constant",
    needs="behavior log-probs and --logprobs NAME=TABLE of the teacher, on any samples with an advantage",
    options="--logprobs NAME=TABLE",
)
class Distillation(Objective):
    """Lowers the reverse KL divergence from a teacher, on the student's own samples.

    A_t of a sampled token is an unbiased estimate of minus that divergence at its place; neither rewards nor the values
    of advantages have an effect. The full divergence over the vocabulary needs the teacher's whole distribution, which
    no table holds.
    """

    class Arguments(PluginArguments):
        teacher: str = argument(..., "NAME of the --logprobs of the teacher.", examples=["NAME"])
        cap: PositiveFloat = argument(5.0, "Largest importance ratio.")

    arguments: Arguments
    traits = Traits(needs_behavior_logprobs=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        log_ratio = inputs.log_ratios()
        gain = (log_ratio - inputs.log_ratios_to(self.arguments.teacher)).detach()
        ratio = log_ratio.exp().clamp(max=self.arguments.cap)
        share = inputs.sample_share()
        tokens = ratio * gain * inputs.token_weights
        divergence = -(share * inputs.mean_over_tokens(gain)).sum()
        return ObjectiveOutputs(-(share * inputs.mean_over_tokens(tokens)).sum(), {"teacher_divergence": divergence})
