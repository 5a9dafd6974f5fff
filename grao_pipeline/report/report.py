"""`grao report`: what came of a run, as one self-contained page."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grao_pipeline.errors import DamagedPart, InputError, MismatchError
from grao_pipeline.progress import SILENT, Bar, Progress
from grao_pipeline.report import facts
from grao_pipeline.report.group_sets import GroupSet, group_sets
from grao_pipeline.report.options import ReportOptions
from grao_pipeline.report.outputs import outputs_below
from grao_pipeline.report.page import page
from grao_pipeline.report.run_directory import run_directory
from grao_pipeline.report.samples import OpenSet, read_groups, set_record
from grao_pipeline.report.statistics import SetNumbers, histograms, set_numbers
from grao_pipeline.storage.atomic import write_atomically
from grao_pipeline.storage.outside_errors import refused

Json = dict[str, Any]
END_OF_TITLE = b"GRAO report</title>"
LENGTH_OF_HEAD = 65536
"""Bytes of a report that hold its title, unless that is very long."""


@dataclass
class ReportSummary:
    """What a report shows.

    Attributes:
        models: evaluated ones.
        groups: of all rounds.
        groups_shown: of them in the sample browser.
        texts_cut: texts of which only the beginning is shown.
    """

    page: str
    bytes: int = 0
    models: int = 0
    trainings: int = 0
    groups: int = 0
    groups_shown: int = 0
    texts_cut: int = 0
    notes: list[str] = field(default_factory=list)


def write_report(run: str, out: str, options: ReportOptions, progress: Progress = SILENT) -> ReportSummary:
    """Write the page of a run.

    Example:
        write_report("runs", "report.html", ReportOptions()).groups_shown

    Args:
        run: the YAML of rounds, their output directory, or any directory of tables, models and evaluations.
        out: the HTML file.

    Raises:
        InputError: there is nothing to report, or `out` cannot be written.
        MismatchError: `out` is a file of another kind.
    """
    _refuse_other_file(Path(out))
    root = run_directory(run)
    with progress.track(f"looking through {root}"):
        outputs, problems = outputs_below(root)
    if not any(output.kind in ("groups", "evaluation", "model") for output in outputs):
        problem = f" {problems[0]}" if problems else ""
        raise InputError(f"{run} holds no groups, trainings or evaluations to report on.{problem}")
    sets = group_sets(outputs)
    with progress.track("reading groups", len(sets), "tables") as bar:
        opened, numbers, more = _open_sets(sets, bar)
    problems += more
    with progress.track("reading samples", len(opened), "tables") as bar:
        groups = _shown_groups(opened, options, bar)
    shown = Counter(group["set"] for group in groups)
    costs, more = facts.costs(outputs)
    problems += more
    try:
        tournament = facts.tournament(root)
    except (DamagedPart, MismatchError) as error:
        tournament = None
        problems.append(str(error))
    title = options.title or root.resolve().name
    evaluations, trainings = facts.evaluations(outputs), facts.trainings(outputs)
    report = {
        "title": title,
        "run": run,
        "version": version("grao-pipeline"),
        "evaluations": evaluations,
        "tournament": tournament,
        "trainings": trainings,
        "sets": [{**set_record(tables), "shown": shown[tables.of.key]} for tables in opened],
        "rewards": [one.of_reward(name) for one in numbers for name in one.rewards.columns if name != "row"],
        "histograms": histograms(numbers),
        "agreement": [row for one in numbers for row in one.agreement()],
        "lengths": [one.lengths() for one in numbers],
        "costs": costs,
        "origins": facts.origins(outputs),
        "problems": problems,
    }
    text = page(title, report, groups).encode()
    _write(Path(out), text)
    return ReportSummary(
        out,
        len(text),
        len(evaluations),
        len(trainings),
        sum(one.groups for one in numbers),
        len(groups),
        _num_cut(groups),
        problems,
    )


def _open_sets(sets: Sequence[GroupSet], bar: Bar) -> tuple[list[OpenSet], list[SetNumbers], list[str]]:
    """The sets that can be read, their numbers, and what is wrong with the others."""
    opened, numbers, problems = [], [], []
    for one in sets:
        try:
            tables = OpenSet.open(one)
            numbers.append(set_numbers(tables))
            opened.append(tables)
        except InputError as error:
            problems.append(f"{one.label} is left out: {error}")
        bar.advance()
    return opened, numbers, problems


def _shown_groups(sets: Sequence[OpenSet], options: ReportOptions, bar: Bar) -> list[Json]:
    """Of every set the same number of groups, those with the smallest prompt IDs: the same prompts in every round."""
    groups: list[Json] = []
    left = options.groups
    for number, tables in enumerate(sorted(sets, key=lambda tables: tables.groups.num_rows)):
        share = min(left // (len(sets) - number), tables.groups.num_rows)
        left -= share
        for group in _chosen(tables, share, options.max_characters):
            groups.append({"set": tables.of.key, **group})
        bar.advance(1, groups=len(groups))
    return groups


def _chosen(tables: OpenSet, number: int, longest: int) -> list[Json]:
    access = tables.groups
    prompts = [
        (prompt, position)
        for part in range(len(access.parts))
        for position, prompt in enumerate(access.part(part, ["prompt_id"])[0].to_pylist(), access.starts_at(part))
    ]
    chosen = {position for _, position in sorted(prompts)[:number]}
    groups: list[Json] = []
    for part, entry in enumerate(access.parts):
        first = access.starts_at(part)
        inside = [position for position in range(first, first + entry.rows) if position in chosen]
        if inside:
            read = read_groups(tables, inside[0], inside[-1] + 1, longest)
            groups += [group for group in read if group["at"] in chosen]
    return groups


def _num_cut(value: object) -> int:
    """Texts in groups that were cut."""
    if isinstance(value, dict):
        return int(bool(value.get("cut"))) + sum(_num_cut(item) for item in value.values())
    return sum(_num_cut(item) for item in value) if isinstance(value, list) else 0


def _refuse_other_file(path: Path) -> None:
    """Raises: InputError, MismatchError: what is there is not an earlier report, which a new one replaces."""
    if path.is_dir():
        raise InputError(f"{path} is a directory; name the file to write, e.g. {path / 'report.html'}.")
    try:
        with path.open("rb") as file:
            start = file.read(LENGTH_OF_HEAD)
    except FileNotFoundError:
        return
    except OSError as error:
        raise refused("read", str(path), error) from error
    if start and END_OF_TITLE not in start:
        raise MismatchError(f"{path} exists and is not a report. Choose another file for the report.")


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise refused("write", str(path), error) from error
