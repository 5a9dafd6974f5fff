"""Which groups meet a query, and in which order: asked part by part in the background, so that hits come at once."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import GraoError
from grao_pipeline.report.group_sets import COMBINED
from grao_pipeline.report.samples import OpenSet

ROWS_AT_ONCE = 4096
"""Rows that a scan holds at a time, of a part that has more."""
MOST_SCANS = 4
"""Answers that are remembered."""
DIGITS = 6
"""Of means and spreads: what differs only by the rounding of floats is a tie."""
NO_VARIANCE = "no variance"
FINISHES = ("stop", "length", "abort")


@dataclass(frozen=True)
class Query:
    """What groups to show.

    Attributes:
        sort: `` (as in the table), `spread`, `best` or `worst`.
        text: in prompts, answers or reasoning; upper and lower case are the same.
        status: of a judgement, how a sample ended, or `no variance`.
        low, high: bounds of the mean reward.
    """

    sort: str = ""
    text: str = ""
    reward: str = ""
    status: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def takes_all(self) -> bool:
        """Whether every group meets it, in the order of the table."""
        return self == Query(reward=self.reward)


class Scan:
    """The hits of one query among the rows that a set has, as far as a thread has found them.

    Attributes:
        problem: why it ended early; empty where it did not.
    """

    def __init__(self, tables: OpenSet, query: Query) -> None:
        self._tables = tables
        self._query = query
        self._lock = threading.Lock()
        self._positions: list[np.ndarray] = []
        self._keys: list[np.ndarray] = []
        self._order: np.ndarray | None = None
        self._rows_done = 0
        self._is_stopped = False
        self.problem = ""
        self.num_rows = tables.groups.num_rows
        self._thread = threading.Thread(target=self._run, name="grao-view-scan", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread soon: nobody wants the answer any more."""
        self._is_stopped = True

    @property
    def scanned(self) -> float:
        """The share of the rows that was looked at."""
        return self._rows_done / self.num_rows if self.num_rows else 1.0

    def hits(self, offset: int, limit: int) -> tuple[int, float, list[int]]:
        """(number of hits so far, share of the rows scanned, positions of `limit` hits from `offset` on)."""
        with self._lock:
            scanned = self.scanned
            if self._order is None:
                positions = np.concatenate([*self._positions, np.empty(0, np.int64)])
                keys = np.concatenate([*self._keys, np.empty(0)])
                self._order = positions[np.lexsort((positions, keys))] if self._query.sort else positions
            order = self._order
        return len(order), scanned, [int(position) for position in order[offset : offset + limit]]

    def wait(self, seconds: float) -> None:
        """Until it has ended, but no longer than this."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            for part, entry in enumerate(self._tables.groups.parts):
                for start in range(0, entry.rows, ROWS_AT_ONCE):
                    if self._is_stopped:
                        return
                    self._add(part, start, min(start + ROWS_AT_ONCE, entry.rows))
        except GraoError as error:
            self.problem = str(error)
        with self._lock:
            self._rows_done = self.num_rows

    def _add(self, part: int, start: int, stop: int) -> None:
        first = self._tables.groups.starts_at(part) + start
        is_hit, key = self._judge(part, start, stop)
        with self._lock:
            self._rows_done += stop - start
            if is_hit.any():
                self._positions.append(first + np.flatnonzero(is_hit))
                self._keys.append(key[is_hit])
                self._order = None

    def _judge(self, part: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(which rows meet the query, their sort keys)."""
        query, tables = self._query, self._tables
        is_hit = np.ones(stop - start, bool)
        key = np.zeros(stop - start)
        if query.sort or query.low is not None or query.high is not None:
            mean, spread = _statistics(tables, part, start, stop, query.reward)
            is_hit &= np.ones_like(is_hit) if query.low is None else mean >= query.low
            is_hit &= np.ones_like(is_hit) if query.high is None else mean <= query.high
            # Groups without a reward come last.
            value = {"spread": -spread, "best": -mean, "worst": mean}.get(query.sort, key)
            key = np.where(np.isnan(value), np.inf, value)
        if query.status and is_hit.any():
            is_hit &= _has_status(tables, part, start, stop, query.status)
        if query.text and is_hit.any():
            is_hit &= _has_text(tables, part, start, stop, query.text)
        return is_hit, key


class Scans:
    """The scans of the queries that were asked last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scans: OrderedDict[tuple[str, int, Query], Scan] = OrderedDict()

    def of(self, tables: OpenSet, query: Query) -> Scan:
        """The scan of a query: a running one, a finished one, or a new one."""
        name = (tables.of.key, tables.version, query)
        with self._lock:
            if name not in self._scans:
                self._scans[name] = Scan(tables, query)
                while len(self._scans) > MOST_SCANS:
                    self._scans.popitem(last=False)[1].stop()
            self._scans.move_to_end(name)
            return self._scans[name]


def _rewards(tables: OpenSet, part: int, start: int, stop: int, name: str) -> pl.Series | None:
    """The lists of rewards of these rows; None where they do not exist yet."""
    access = tables.advantages if name == COMBINED else tables.scores.get(name)
    table = tables.companion(access, part, start, stop, ["rewards"]) if access else None
    return None if table is None else pl.Series(values=table.column("rewards").combine_chunks())


def _statistics(tables: OpenSet, part: int, start: int, stop: int, reward: str) -> tuple[np.ndarray, np.ndarray]:
    """(mean, spread) of each group's rewards; NaN without a reward."""
    lists = _rewards(tables, part, start, stop, reward)
    if lists is None:
        nothing = np.full(stop - start, np.nan)
        return nothing, nothing
    wide = lists.cast(pl.List(pl.Float64))
    mean, spread = wide.list.mean(), wide.list.max() - wide.list.min()
    return mean.round(DIGITS).to_numpy(), spread.round(DIGITS).to_numpy()


def _has_status(tables: OpenSet, part: int, start: int, stop: int, status: str) -> np.ndarray:
    if status == NO_VARIANCE:
        is_flat = np.zeros(stop - start, bool)
        for reward in tables.of.rewards:
            is_flat |= _statistics(tables, part, start, stop, reward)[1] == 0
        return is_flat
    if status in FINISHES:
        lists = [tables.groups.part(part, ["finish_reasons"], start, stop).column(0)]
    else:
        companions = [tables.companion(access, part, start, stop, ["statuses"]) for access in tables.scores.values()]
        lists = [table.column("statuses") for table in companions if table is not None]
    is_hit = np.zeros(stop - start, bool)
    for column in lists:
        flat = column.combine_chunks()
        is_hit[pc.list_parent_indices(flat).filter(pc.equal(flat.flatten(), status)).to_numpy()] = True
    return is_hit


def _has_text(tables: OpenSet, part: int, start: int, stop: int, text: str) -> np.ndarray:
    columns = ["messages", "reference", "reference_reasoning", "completions", "reasoning", "answers"]
    rows = tables.groups.part(part, columns, start, stop)
    is_hit = np.zeros(stop - start, bool)
    messages = rows.column("messages").combine_chunks()
    turns = messages.flatten()
    owners = pc.list_parent_indices(messages)
    for field in ("content", "reasoning_content"):
        is_hit[owners.filter(_matches(turns.field(field), text)).to_numpy()] = True
    for name in ("reference", "reference_reasoning"):
        is_hit |= _matches(rows.column(name).combine_chunks(), text).to_numpy(zero_copy_only=False)
    has_answers = rows.column("answers").null_count < stop - start
    for name in ("reasoning", "answers") if has_answers else ("completions",):
        lists = rows.column(name).combine_chunks()
        is_hit[pc.list_parent_indices(lists).filter(_matches(lists.flatten(), text)).to_numpy()] = True
    return is_hit


def _matches(texts: pa.Array, text: str) -> pa.Array:
    return pc.fill_null(pc.match_substring(texts, text, ignore_case=True), False)
