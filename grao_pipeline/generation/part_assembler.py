"""Makes and writes the rows of parts in a second thread while an engine samples."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.generation.engines.base import Request, Sample, SampledGroup
from grao_pipeline.generation.part_preparer import PreparedPart
from grao_pipeline.generation.run_report import RunReport
from grao_pipeline.schemas import GROUPS
from grao_pipeline.storage.rows_to_arrow import rows_to_arrow
from grao_pipeline.storage.writer import TableWriter

MAX_PREPARED = 2
"""Parts that are prepared before the engine asks for them."""
MAX_UNWRITTEN = 4
"""Complete parts that may wait to be written; when there are more, the engine waits."""


class Builder(Protocol):
    """Completes rows."""

    def finish(self, row: Row, samples: Sequence[Sample]) -> Row:
        """The complete row."""
        ...


class Preparer(Protocol):
    """Makes the rows and requests of parts."""

    @property
    def builder(self) -> Builder:
        """Completes the rows."""
        ...

    def prepare(self, index: int, recovered: pa.Table | None) -> PreparedPart:
        """The rows and requests of a part, given the groups of it that a stopped run finished."""
        ...


class PartAssembler:
    """Gives an engine the requests of the missing parts, and receives the groups that it finishes.

    Rows are tokenized, detokenized, hashed and written in a second thread, in order, so that the engine's thread waits
    for nothing but the engine.

    Args:
        report: receives prepared and committed parts, in the second thread.
    """

    def __init__(self, preparer: Preparer, writer: TableWriter, report: RunReport) -> None:
        self._indices = iter(writer.missing())
        self._preparer = preparer
        self._writer = writer
        self._report = report
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grao-rows")
        self._prepared: deque[Future[PreparedPart]] = deque()
        self._unwritten: deque[Future[None]] = deque()
        self._incomplete: dict[int, PreparedPart] = {}

    @property
    def num_committed(self) -> int:
        """Committed parts of the table, those of earlier runs included."""
        return self._writer.num_committed

    def parts(self) -> Iterator[list[Request]]:
        """The requests of every part, in order."""
        while True:
            while len(self._prepared) < MAX_PREPARED and (index := next(self._indices, None)) is not None:
                self._prepared.append(self._thread.submit(self._prepare, index))
            if not self._prepared:
                return
            part = self._prepared.popleft().result()
            self._incomplete[part.index] = part
            self._commit_if_complete(part)  # a part may need no sampling
            yield part.requests

    def add(self, groups: Sequence[SampledGroup]) -> None:
        """Store finished groups; complete parts are written.

        Raises:
            GraoError: a part could not be written.
        """
        for group in groups:
            index, row = group.key
            part = self._incomplete[index]
            part.sampled[row] = group.samples
            self._commit_if_complete(part)

    def finish(self) -> None:
        """Wait until everything is written."""
        while self._unwritten:
            self._unwritten.popleft().result()
        self._thread.shutdown()

    def save_unfinished(self) -> int:
        """Write the complete parts, and save the finished groups of the incomplete ones.

        Returns:
            the number of groups that were saved.
        """
        saves = [self._thread.submit(self._save_unfinished, part) for part in self._incomplete.values()]
        for future in self._prepared:
            future.cancel()
        self._prepared.clear()
        self.finish()
        return sum(save.result() for save in saves)

    def _prepare(self, index: int) -> PreparedPart:
        part = self._preparer.prepare(index, self._writer.unfinished(index))
        self._report.prepared(part)
        return part

    def _commit_if_complete(self, part: PreparedPart) -> None:
        if not part.is_complete:
            return
        del self._incomplete[part.index]
        self._unwritten.append(self._thread.submit(self._commit, part))
        while self._unwritten and (len(self._unwritten) > MAX_UNWRITTEN or self._unwritten[0].done()):
            self._unwritten.popleft().result()

    def _commit(self, part: PreparedPart) -> None:
        rows = [self._row(part, number) for number in range(len(part.rows))]
        table = rows_to_arrow(rows, GROUPS.arrow())
        self._writer.write(part.index, table)
        self._report.committed(part.index, table)

    def _save_unfinished(self, part: PreparedPart) -> int:
        rows = [self._row(part, number) for number in sorted(part.finished | part.sampled.keys())]
        if rows:
            self._writer.save_unfinished(part.index, rows_to_arrow(rows, GROUPS.arrow()))
        return len(part.sampled)

    def _row(self, part: PreparedPart, number: int) -> Row:
        if number in part.finished:
            return part.rows[number]
        samples = [*part.earlier.get(number, []), *part.sampled.get(number, [])]
        return self._preparer.builder.finish(part.rows[number], samples)
