"""A public fake of the Engine seam, for tests without a model."""

import math
from collections.abc import Iterable, Iterator, Sequence

from grao_pipeline.generation.engines.base import Engine, Request, Sample, SampledGroup, Sampling


class FakeEngine(Engine):
    """Sample i of a prompt is `length` tokens that count up from the prompt's last token + i, and end with
    `stop_token_id`.
    """

    def __init__(self, length: int = 3, stop_token_id: int = 0) -> None:
        self.length = length
        self.stop_token_id = stop_token_id
        self.num_requests = 0
        """Requests that it was given so far."""

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        for part in parts:
            for request in part:
                self.num_requests += 1
                first = request.prompt_token_ids[-1]
                samples = []
                for index in range(request.num_samples):
                    ids = [first + index + offset for offset in range(1, self.length)] + [self.stop_token_id]
                    samples.append(Sample(ids, [math.log(0.5)] * len(ids), "stop"))
                yield [SampledGroup(request.key, samples)]
