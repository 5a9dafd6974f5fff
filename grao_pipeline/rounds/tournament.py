"""`grao tournament`: many methods on the same sampled and scored groups, compared prompt by prompt."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.evaluation.paired import paired_difference
from grao_pipeline.evaluation.record import read_evaluation
from grao_pipeline.evaluation.scored_prompts import ScoredPrompt, read_scored_prompts
from grao_pipeline.options import closest
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.rounds.config.compile import load_plan
from grao_pipeline.rounds.config.run_plan import VariantPlan
from grao_pipeline.rounds.failures import raise_failures
from grao_pipeline.rounds.plan import plan_tasks
from grao_pipeline.rounds.receipts import Receipts
from grao_pipeline.rounds.run import run_rounds
from grao_pipeline.rounds.tasks import Task, Walk
from grao_pipeline.rounds.tournament_options import TournamentOptions
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import write_record
from grao_pipeline.storage.table_pair import TablePair

RESULT = "tournament.json"
COSTS = ("tokens_sampled", "judgements", "judge_tokens", "tokens_trained")


@dataclass(frozen=True)
class MethodRow:
    """What a method reached and what it cost by itself, next to what all methods share."""

    method: str
    metrics: dict[str, dict[str, Any] | None]
    """Of its last model on the held-out prompts: value, low, high and n of each; empty where it is not evaluated."""
    difference: dict[str, Any] | None
    """Mean reward minus that of the baseline, per prompt; None for the baseline."""
    narrower: float | None
    """Width of its interval over that of two separate means (see `PairedDifference`)."""
    tasks: int
    seconds: float
    costs: dict[str, int]


@dataclass(frozen=True)
class TournamentSummary:
    """One row per method, best first."""

    output: str
    baseline: str
    rows: list[MethodRow]
    shared: dict[str, float]
    """What several methods share and is counted once: tasks, seconds, tokens sampled, judgements."""
    made: int
    found: int
    failures: dict[str, str] = field(default_factory=dict)
    """By method that is not compared, which of its tasks failed."""
    notes: list[str] = field(default_factory=list)

    def for_people(self) -> dict[str, object]:
        """The table."""
        methods = [
            {
                "method": row.method,
                "mean reward": _interval(row.metrics.get("mean_reward"), ""),
                "against baseline": _interval(row.difference, "+"),
                "narrower": row.narrower,
                "RAS": _interval(row.metrics.get("ras"), ""),
                "NAG net": _interval(row.metrics.get("nag_net"), "+"),
                "tokens sampled": row.costs["tokens_sampled"],
                "tokens trained": row.costs["tokens_trained"],
                "own seconds": row.seconds,
            }
            for row in self.rows
        ]
        return {**asdict(self), "rows": None, "methods": methods}


def run_tournament(path: str, options: TournamentOptions, progress: Progress = SILENT) -> TournamentSummary:
    """Do what is left of a rounds file with `variants` (or a sweep), then compare the last models on held-out prompts.

    What the methods have in common, the first round's sampling and scoring above all, is one task. Held-out prompts,
    sampling and reward are the same for all. A method one of whose stages failed is named and not compared.
    OUTPUT/tournament.json gets the summary.

    Example:
        run_tournament("tournament.yaml", TournamentOptions(baseline="grao")).rows[0].method

    Raises:
        UsageError: there are no methods to compare, no held-out prompts, or no such baseline.
        GraoError: as `run_rounds`.
    """
    plan = load_plan(path)
    names = [variant.name for variant in plan.variants]
    baseline = _baseline(path, names, options)
    if plan.prompts.source is None and plan.prompts.eval is None:
        raise UsageError(
            f"{path}: prompts: a tournament needs held-out prompts: give eval, or source and eval_fraction."
        )
    done = run_rounds(path, progress)
    names = [name for name in names if name not in done.failures]
    if baseline not in names:
        raise_failures(done.failures)
    walked, _ = plan_tasks(plan)
    receipts = Receipts(progress)
    of_task = _variants_of(walked, names)
    prompts = {name: _judged(walked, name, progress) for name in names}
    evaluate = _evaluate_options(plan.variants[0])
    confidence = options.confidence or evaluate.confidence
    rows = []
    for name in names:
        alone = [task for task in walked.tasks if of_task[id(task)] == {name} and not _is_evaluation(task)]
        paired = None
        if name != baseline:
            paired = paired_difference(
                prompts[name], prompts[baseline], confidence, evaluate.bootstrap_samples, evaluate.seed
            )
        evaluation = read_evaluation(str(walked.named[f"{_last(walked, name)}/evaluate"].out))
        rows.append(
            MethodRow(
                name,
                evaluation.metrics if evaluation else {},
                asdict(paired.difference) if paired else None,
                paired.narrower if paired else None,
                len(alone),
                _seconds(alone, receipts),
                _costs(alone, receipts),
            )
        )
    common = [task for task in walked.tasks if len(of_task[id(task)]) > 1 and not _is_evaluation(task)]
    shared = {"tasks": len(common), "seconds": _seconds(common, receipts), **_costs(common, receipts)}
    rows.sort(key=lambda row: (row.metrics.get("mean_reward") or {"value": 0.0})["value"], reverse=True)
    summary = TournamentSummary(done.output, baseline, rows, shared, len(done.made), len(done.found), done.failures)
    write_record(Directory(done.output), RESULT, asdict(summary), indent=1)
    return summary


def _baseline(path: str, names: list[str], options: TournamentOptions) -> str:
    if len(names) < 2:
        raise UsageError(f"{path}: a tournament needs several methods. List them in variants (docs/tournament.md).")
    if options.baseline is None:
        return names[0]
    if options.baseline not in names:
        hint = closest(options.baseline, names) or f" There are: {', '.join(names)}."
        raise UsageError(f"there is no method '{options.baseline}'.{hint}", option="baseline")
    return options.baseline


def _evaluate_options(variant: VariantPlan) -> EvaluateOptions:
    """The options of evaluation, which are the same for all methods."""
    settings = variant.rounds[-1].only("evaluate")
    assert settings is not None
    assert isinstance(settings.options, EvaluateOptions)
    return settings.options


def _last(walked: Walk, name: str) -> str:
    """The last round of a method: all of them, or fewer where `until` ends them."""
    return [evaluated for evaluated in walked.evaluations if evaluated.startswith(f"{name}/round-")][-1]


def _judged(walked: Walk, name: str, progress: Progress) -> Mapping[str, ScoredPrompt]:
    groups, scores = (walked.named[f"{_last(walked, name)}/evaluate-{kind}"].out for kind in ("generate", "score"))
    pair = TablePair.open(str(groups), str(scores), "scores")
    with progress.track(f"reading {name}", pair.groups.num_parts, "parts") as bar:
        return read_scored_prompts(pair, bar).prompts


def _variants_of(walked: Walk, names: list[str]) -> dict[int, set[str]]:
    """By task, the variants that it is a task of; the prompts are made for all of them."""
    owners: dict[int, set[str]] = {id(task): set() for task in walked.tasks}
    for name, task in walked.named.items():
        variant, _, rest = name.partition("/")
        owners[id(task)] |= {variant} if rest else set(names)
    return owners


def _is_evaluation(task: Task) -> bool:
    return "/evaluate" in task.name


def _seconds(tasks: Iterable[Task], receipts: Receipts) -> float:
    of_tasks = [receipts.of(task) for task in tasks]
    return round(sum(receipt.seconds for receipt in of_tasks if receipt), 3)


def _costs(tasks: Iterable[Task], receipts: Receipts) -> dict[str, int]:
    total: Counter[str] = Counter(dict.fromkeys(COSTS, 0))
    for task in tasks:
        receipt = receipts.of(task)
        if receipt is not None:
            total.update({name: int(receipt.summary.get(key) or 0) for name, key in task.stage.costs.items()})
    return dict(total)


def _interval(metric: Mapping[str, Any] | None, sign: str) -> str | None:
    return (
        None
        if metric is None
        else f"{metric['value']:{sign}.3f} [{metric['low']:{sign}.3f}, {metric['high']:{sign}.3f}]"
    )
