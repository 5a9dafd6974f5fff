"""Parts being assembled while an engine samples: rows are made and written in a thread beside the engine's."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from grao_pipeline.generation.engines.base import Request, Sample, SampledGroup
from grao_pipeline.generation.rows import Row, RowBuilder
from grao_pipeline.schemas import GROUPS
from grao_pipeline.storage.writer import TableWriter

PARTS_AHEAD = 2
"""Parts that are prepared before the engine asks for them."""
PARTS_BEHIND = 4
"""Finished parts that may wait to be written; then the engine waits too."""


@dataclass
class PreparedPart:
    """A part on its way from prompts to groups."""

    index: int
    rows: list[Row]
    requests: list[Request]
    """What is still to be sampled; `Request.key` is (part, row)."""
    earlier: dict[int, list[Sample]] = field(default_factory=dict)
    """Samples that a row has already, by the row's number."""
    finished: set[int] = field(default_factory=set)
    """Rows that an interrupted run finished."""
    sampled: dict[int, list[Sample]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return len(self.sampled) == len(self.requests)


class Assembly:
    """Gives an engine its requests, part by part, and takes the groups that it finishes.

    All work on rows (tokenizing, detokenizing, hashing, writing) happens in one other thread, in order, so that the
    engine's thread only ever waits for the engine.

    Args:
        prepare: makes a part ready for sampling; called in the other thread.
        committed: is told of every part that was committed, in the other thread.
    """

    def __init__(
        self,
        indices: Sequence[int],
        prepare: Callable[[int], PreparedPart],
        builder: RowBuilder,
        writer: TableWriter,
        committed: Callable[[int], None],
    ) -> None:
        self._indices = iter(indices)
        self._prepare = prepare
        self._builder = builder
        self._writer = writer
        self._committed = committed
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grao-rows")
        self._ahead: deque[Future[PreparedPart]] = deque()
        self._behind: deque[Future[None]] = deque()
        self._parts: dict[int, PreparedPart] = {}

    def parts(self) -> Iterator[list[Request]]:
        """The requests of every part, in order."""
        while True:
            while len(self._ahead) < PARTS_AHEAD and (index := next(self._indices, None)) is not None:
                self._ahead.append(self._thread.submit(self._prepare, index))
            if not self._ahead:
                return
            part = self._ahead.popleft().result()
            self._parts[part.index] = part
            self._commit_if_complete(part)  # there may be nothing to sample in it
            yield part.requests

    def take(self, groups: Sequence[SampledGroup]) -> None:
        """Keep what the engine finished; hand complete parts over to be written.

        Raises:
            GraoError: a part could not be written.
        """
        for group in groups:
            index, row = group.key
            part = self._parts[index]
            part.sampled[row] = group.samples
            self._commit_if_complete(part)

    def finish(self) -> None:
        """Wait until everything is written."""
        while self._behind:
            self._behind.popleft().result()
        self._thread.shutdown()

    def save_unfinished(self) -> int:
        """Write what is complete, and keep the finished groups of the parts that are not.

        Returns:
            the number of groups kept so.
        """
        saves = [self._thread.submit(self._save_unfinished, part) for part in self._parts.values()]
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self.finish()
        return sum(save.result() for save in saves)

    def _commit_if_complete(self, part: PreparedPart) -> None:
        if not part.is_complete:
            return
        del self._parts[part.index]
        self._behind.append(self._thread.submit(self._commit, part))
        while self._behind and (len(self._behind) > PARTS_BEHIND or self._behind[0].done()):
            self._behind.popleft().result()

    def _commit(self, part: PreparedPart) -> None:
        rows = [self._row(part, number) for number in range(len(part.rows))]
        self._writer.write(part.index, pa.Table.from_pylist(rows, schema=GROUPS.arrow()))
        self._committed(part.index)

    def _save_unfinished(self, part: PreparedPart) -> int:
        rows = [self._row(part, number) for number in sorted(part.finished | part.sampled.keys())]
        if rows:
            self._writer.save_unfinished(part.index, pa.Table.from_pylist(rows, schema=GROUPS.arrow()))
        return len(part.sampled)

    def _row(self, part: PreparedPart, number: int) -> Row:
        if number in part.finished:
            return part.rows[number]
        samples = [*part.earlier.get(number, []), *part.sampled.get(number, [])]
        return self._builder.finish(part.rows[number], samples)
