"""Counts what a run samples and shows how far it is."""

import time
from collections.abc import Sequence

import pyarrow as pa

from grao_pipeline.generation.engines.base import SampledGroup
from grao_pipeline.generation.part_preparer import PreparedPart
from grao_pipeline.generation.summary import GenerateSummary
from grao_pipeline.progress import Bar


class RunReport:
    """Receives the events of a run. `prepared` and `committed` may be called from a second thread.

    Args:
        summary: of the run; its parts, samples, tokens and seconds are counted here.
        bar: counts groups.
    """

    def __init__(self, summary: GenerateSummary, bar: Bar) -> None:
        self._summary = summary
        self._bar = bar
        self._started = time.perf_counter()

    def started(self) -> None:
        """The engine is loaded; the time counts from now."""
        self._started = time.perf_counter()

    def prepared(self, part: PreparedPart) -> None:
        """Rows of a prepared part that need no sampling are done."""
        self._bar.advance(len(part.rows) - len(part.requests))

    def sampled(self, groups: Sequence[SampledGroup]) -> None:
        """The engine finished groups."""
        for group in groups:
            self._summary.count(group.samples)
        self._set_time()
        self._bar.advance(len(groups), tokens_per_second=self._summary.tokens_per_second)

    def committed(self, index: int, part: pa.Table) -> None:
        """A part was written."""
        self._summary.parts_made += 1
        self._summary.add_part(part)
        tokens = f"{self._summary.new_tokens:,} tokens so far · {self._summary.tokens_per_second:,.0f} tokens/s"
        self._bar.log(f"part {index} committed · {tokens}")

    def finished(self) -> None:
        """All parts were written."""
        self._set_time()

    def _set_time(self) -> None:
        self._summary.seconds = time.perf_counter() - self._started
        self._summary.tokens_per_second = self._summary.new_tokens / max(self._summary.seconds, 1e-9)
