r"""An engine of your own: sampling with `model.generate` of transformers, one prompt at a time.

    grao generate data runs/groups --model models/base \
        --engine examples.custom_engine:PlainGenerate --engine-arg top_k=50

Slow, but complete: whatever samples token ids, and knows their log-probs, becomes an engine in this way.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from transformers import AutoModelForCausalLM

from grao_pipeline import Engine, PluginArguments, argument
from grao_pipeline.generation.engines.base import EngineOptions, Request, Sample, SampledGroup, Sampling


class PlainGenerate(Engine):
    """Samples with `generate` of transformers."""

    class Arguments(PluginArguments):
        top_k: NonNegativeInt = argument(0, "Sample among this many most likely tokens; 0 among all.")

    def __init__(self, options: EngineOptions, arguments: Arguments) -> None:
        options = options.resolved()  # `auto` becomes the device and the precision of this machine
        model = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype))
        self._model = model.to(options.device).eval()
        self._device = options.device
        self._top_k = arguments.top_k

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        for part in parts:
            for request in part:  # every list that is yielded is saved, or lost as a whole
                yield [SampledGroup(request.key, self._sample(request, sampling))]

    @torch.inference_mode()
    def _sample(self, request: Request, sampling: Sampling) -> list[Sample]:
        torch.manual_seed(request.seed)  # the samples depend on the prompt alone, not on what was sampled before
        prompt = torch.tensor([request.prompt_token_ids], device=self._device)
        output = self._model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=self._top_k,
            num_return_sequences=request.num_samples,
            max_new_tokens=request.max_new_tokens,
            eos_token_id=list(sampling.stop_token_ids),
            pad_token_id=sampling.stop_token_ids[0],
            return_dict_in_generate=True,
            output_logits=True,  # before temperature, top-p and top-k: the log-probs are the policy's
        )
        ids = output.sequences[:, prompt.shape[1] :]  # [G, L]
        logprobs = torch.stack(output.logits, dim=1).float().log_softmax(dim=-1)  # [G, L, V]
        picked = logprobs.gather(-1, ids[..., None])[..., 0]  # [G, L]
        return [_sample_of(*row, sampling) for row in zip(ids, picked, strict=True)]

    def close(self) -> None:
        del self._model


def _sample_of(ids: Tensor, logprobs: Tensor, sampling: Sampling) -> Sample:
    """A row without its padding: up to its first stop token, which is part of the sample."""
    stops = [place for place, token in enumerate(ids.tolist()) if token in sampling.stop_token_ids]
    length = stops[0] + 1 if stops else len(ids)
    return Sample(ids[:length].tolist(), logprobs[:length].tolist(), "stop" if stops else "length")
