"""Runs inside vLLM's worker: samplers that return the sampled token's log-prob under both distributions.

vLLM returns log-probs of the policy (`raw_logprobs`) or of the distribution that is sampled from
(`processed_logprobs`), not both. Where a request asks for the log-prob of one further token, these samplers return the
sampled token's log-prob under the sampled distribution in its place, as that of another token: 0, or 1 where 0 was
sampled. vLLM may look the token up in its tokenizer, so it must be one.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from grao_pipeline.plugins import require

if TYPE_CHECKING:
    from torch import Tensor
    from vllm.config.model import LogprobsMode
    from vllm.v1.outputs import LogprobsTensors, SamplerOutput
    from vllm.v1.sample.metadata import SamplingMetadata
    from vllm.v1.worker.gpu.input_batch import InputBatch


class BehaviorLogprobs:
    """Of vLLM's worker."""

    model_runner: Any

    def install_behavior_logprobs(self) -> bool:
        """Make the worker's sampler return both log-probs. Installing it twice does nothing.

        Returns:
            whether it will; False for a sampler that vLLM has replaced with a special one.
        """
        sampler = getattr(self.model_runner, "sampler", None)
        if sampler is None:  # a rank that does not sample
            return True
        name = type(sampler).__module__
        if getattr(sampler, "returns_behavior_logprobs", False):
            return True
        if type(sampler).__name__ != "Sampler" or name not in FACTORIES:
            return False
        sampler.__class__ = FACTORIES[name]()  # in place: rejection samplers hold references to it
        return True


def _runner_v1_sampler() -> type:
    """Of the model runner that CPUs have."""
    torch = require("torch")
    base: Any = require("vllm.v1.sample.sampler").Sampler

    class BehaviorSampler(base):  # type: ignore[misc]  # vLLM is imported in its own process alone
        """vLLM's sampler, in the mode of processed log-probs while it runs."""

        returns_behavior_logprobs = True

        def forward(
            self,
            logits: "Tensor",
            sampling_metadata: "SamplingMetadata",
            predict_bonus_token: bool = False,
            logprobs_mode_override: "LogprobsMode | None" = None,
        ) -> "SamplerOutput":
            is_asked = sampling_metadata.max_num_logprobs == 1 and not sampling_metadata.all_greedy
            if not is_asked or logprobs_mode_override is not None:
                return super().forward(logits, sampling_metadata, predict_bonus_token, logprobs_mode_override)
            policy = self.compute_logprobs(logits)  # before sampling changes the logits in place
            inner = self.topk_topp_sampler
            mode, inner.logprobs_mode = inner.logprobs_mode, "processed_logprobs"
            try:
                output = super().forward(logits, sampling_metadata, predict_bonus_token, "processed_logprobs")
            finally:
                inner.logprobs_mode = mode
            output.logprobs_tensors = _both(torch, output.logprobs_tensors, policy, None)
            return output

    return BehaviorSampler


def _runner_v2_sampler() -> type:
    """Of the model runner that GPUs have."""
    torch = require("torch")
    base: Any = require("vllm.v1.worker.gpu.sample.sampler").Sampler

    class BehaviorSampler(base):  # type: ignore[misc]  # as above
        """vLLM's sampler; the logits that it sampled from are kept until the log-probs are returned."""

        returns_behavior_logprobs = True
        sampled_from: Any = None

        def sample(self, *arguments: object, **keywords: object) -> "tuple[Tensor, Tensor]":
            sampled, processed = super().sample(*arguments, **keywords)
            self.sampled_from = processed
            return sampled, processed

        def __call__(self, logits: "Tensor", input_batch: "InputBatch") -> "SamplerOutput":
            output = super().__call__(logits, input_batch)
            processed, self.sampled_from = self.sampled_from, None
            tensors = output.logprobs_tensors
            if tensors is not None and tensors.logprobs.shape[1] == 2:
                behavior = processed.float().log_softmax(dim=-1)
                output.logprobs_tensors = _both(torch, tensors, None, behavior)
            return output

    return BehaviorSampler


def _both(
    torch: ModuleType, tensors: "LogprobsTensors", policy: "Tensor | None", behavior: "Tensor | None"
) -> "LogprobsTensors":
    """Columns (sampled token, another token) of vLLM's log-probs.

    Args:
        policy, behavior: log-probs of all tokens; None where the first column of `tensors` has them.
    """
    ids = tensors.logprob_token_ids[:, :1]
    columns = [
        tensors.logprobs[:, :1] if logprobs is None else logprobs.gather(-1, ids.long())
        for logprobs in (policy, behavior)
    ]
    return tensors._replace(
        logprob_token_ids=torch.cat([ids, (ids == 0).to(ids.dtype)], dim=1),
        logprobs=torch.cat(columns, dim=1),
    )


FACTORIES = {
    "vllm.v1.sample.sampler": _runner_v1_sampler,
    "vllm.v1.worker.gpu.sample.sampler": _runner_v2_sampler,
}
"""Module of vLLM's sampler → the class that takes its place."""
