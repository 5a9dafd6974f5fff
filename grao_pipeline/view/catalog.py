"""The groups below a path, as they are now: those of a run that is going on, too."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from grao_pipeline.errors import DamagedPart, InputError, MismatchError, UsageError
from grao_pipeline.report.group_sets import GroupSet, group_sets, scores_by_reward
from grao_pipeline.report.outputs import Output, outputs_below
from grao_pipeline.report.run_directory import run_directory
from grao_pipeline.report.samples import OpenSet
from grao_pipeline.rounds.config.keys import LOCK
from grao_pipeline.storage.row_access import open_rows
from grao_pipeline.view.options import ViewOptions

FRESH_SECONDS = 1.5
"""What was found is used for this long before the directory is looked through again."""


class Catalog:
    """The sets of groups to show, by their keys.

    Args:
        path: of a run, a directory of tables, or one table.

    Raises (on construction):
        InputError: there are no groups.
    """

    def __init__(self, path: str, options: ViewOptions) -> None:
        self._path = path
        self._options = options
        self._lock = threading.Lock()
        self._known: dict[str, Output] = {}
        self._followed: set[str] = set()
        """Places that were being written: a moment passes between their end and the link to them."""
        self._sets: dict[str, OpenSet] = {}
        self._looked = -FRESH_SECONDS
        self.problems: list[str] = []
        self._root, self._table = _place_of(path, options)
        if self.sets():
            return
        if self._table is not None:
            raise InputError(
                f"{path} does not say where its groups lie, and they are not next to it. Name them with --groups."
            )
        if self._root is not None and not (self._root / LOCK).exists() and not self.problems:
            raise InputError(f"{path} holds no groups to show, and no rounds that will sample some.")

    def sets(self) -> list[OpenSet]:
        """All sets, in order."""
        with self._lock:
            if time.monotonic() - self._looked > FRESH_SECONDS:
                self._look()
                self._looked = time.monotonic()
            return list(self._sets.values())

    def set_named(self, key: str) -> OpenSet | None:
        """The set of this key; None where it does not exist."""
        return next((tables for tables in self.sets() if tables.of.key == key), None)

    def _look(self) -> None:
        problems: list[str] = []
        sets: dict[str, OpenSet] = {}
        for one in self._group_sets(problems):
            earlier = self._sets.get(one.key)
            if earlier is not None and earlier.of == one and earlier.is_complete:
                sets[one.key] = earlier
                continue
            try:
                sets[one.key] = OpenSet.open(one, earlier)
            except (DamagedPart, MismatchError, InputError) as error:
                problems.append(f"{one.label}: {error}")
        self._sets, self.problems = sets, problems

    def _group_sets(self, problems: list[str]) -> list[GroupSet]:
        options = self._options
        if self._root is None:
            return [_named_set(self._path, options)]
        outputs, more = outputs_below(self._root, self._followed, self._known)
        problems += more
        self._known = {output.place: output for output in outputs if output.is_complete}
        self._followed |= {output.place for output in outputs if not output.is_complete}
        sets = group_sets(outputs)
        if self._table is None:
            return sets
        return [one for one in sets if self._table in {os.path.realpath(output.place) for output in one.tables}]


def _place_of(path: str, options: ViewOptions) -> tuple[Path | None, str | None]:
    """(the directory to look through, the table in it that is meant); no directory where the tables are named.

    Raises:
        InputError: there is nothing at `path`.
    """
    named = [options.groups, options.advantages, *options.scores]
    if any(named) or "://" in path or path.endswith(".parquet"):
        return None, None
    local = Path(path)
    is_run = local.suffix in (".yaml", ".yml") or not local.is_dir()
    root = run_directory(path)
    if is_run:
        return root, None
    try:
        table = open_rows(path, "groups")
    except InputError:
        return root, None
    if table.provenance is None:
        return None, None
    place = os.path.realpath(path)
    parent = root.absolute().parent
    return (parent.parent if parent.parent.name == "store" else parent), place


def _named_set(path: str, options: ViewOptions) -> GroupSet:
    """The set of tables that were named one by one."""
    groups = options.groups or path
    tables = [open_rows(groups, "groups")]
    if tables[0].schema.name != "groups":
        raise UsageError(f"expected groups, found {tables[0].schema.name} at {groups}.", option="groups")
    companions = [*options.scores, *([options.advantages] if options.advantages else [])]
    companions += [path] if options.groups and path not in companions else []
    outputs: list[Output] = []
    for place in companions:
        kind = "advantages" if place == options.advantages else "scores"
        table = open_rows(place, kind)
        outputs.append(Output(place, place, table.schema.name, table.provenance, table.is_complete))
    scores = scores_by_reward([output for output in outputs if output.kind == "scores"])
    advantages: Sequence[Output] = [output for output in outputs if output.kind == "advantages"]
    first = tables[0]
    return GroupSet(
        groups,
        Output(groups, groups, "groups", first.provenance, first.is_complete),
        scores,
        advantages[0] if advantages else None,
    )
