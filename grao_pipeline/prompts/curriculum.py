"""The verb `curriculum`: prompts, and their rewards in earlier rounds → the prompts of the next round."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline import notes
from grao_pipeline.amounts import some
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.build import ROWS_PER_PART
from grao_pipeline.prompts.draw import draw, probabilities
from grao_pipeline.prompts.history_functions import PRIORITY, load_budget, load_priority, own_sources
from grao_pipeline.prompts.options import CurriculumOptions
from grao_pipeline.prompts.reward_history import open_history, refuse_rewritten_history, reward_statistics
from grao_pipeline.storage.input_content import input_content
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.rows_to_arrow import array_of
from grao_pipeline.storage.validation import refuse_repeats
from grao_pipeline.storage.writer import TableWriter

SAMPLES = "samples"


@dataclass(frozen=True)
class CurriculumSummary:
    """How many prompts were seen, retired and chosen. `seen + unseen == prompts`.

    Attributes:
        seen: prompts with a scored sample in an earlier round.
        retired_solved, retired_hopeless: prompts whose mean reward reaches `retire_above`, or `retire_below`.
        chosen_unseen: chosen prompts that were never seen.
        mean_variance: mean over the seen prompts of the variance of a prompt's rewards.
        mean_variance_remaining: the same over the prompts that are not retired; unseen ones have an assumed variance.
        mean_variance_chosen: the same over the chosen prompts.
        chosen: prompts of the table; with a budget, those to which it gives a sample.
        without_samples: drawn prompts that the budget leaves out.
        samples: that the budget gives to the chosen prompts; None without one.
    """

    prompts: int
    seen: int
    unseen: int
    retired_solved: int
    retired_hopeless: int
    chosen: int
    chosen_unseen: int
    mean_variance: float | None
    mean_variance_remaining: float | None
    mean_variance_chosen: float | None
    without_samples: int = 0
    samples: int | None = None
    fingerprint: str = ""
    notes: list[str] = field(default_factory=list)


def curriculum_provenance(
    options: CurriculumOptions, prompts_fingerprint: str, history: Sequence[tuple[str, str]]
) -> Provenance:
    """The identity of the chosen prompts.

    Args:
        history: fingerprints of earlier groups and their scores (or advantages), in order.
    """
    inputs = {"prompts": prompts_fingerprint, "history": [list(pair) for pair in history]}
    content = options.content() | own_sources(options)
    return Provenance("prompts", stage_fingerprint("curriculum", content, inputs), content, inputs)


def choose_prompts(
    prompts_url: str, out: str, options: CurriculumOptions, progress: Progress = SILENT
) -> CurriculumSummary:
    """Write the prompts of the next round to the table OUT, in the order of `prompts_url`.

    Example:
        history = [("runs/groups", "runs/scores")]
        choose_prompts("data/train", "runs/next", CurriculumOptions(history=history, fraction=0.5))

    With a budget every prompt has a number of samples; a prompt that gets none is left out.

    Raises:
        UsageError: the history is empty, or the priority or the budget cannot work.
        InputError: a table is not usable, or no prompt can be chosen.
        MismatchError: scores and groups do not belong together, or `out` holds another table.
    """
    if not options.history:
        raise UsageError("give the groups and the scores of at least one earlier round.", option="history")
    priority, budget = load_priority(options), load_budget(options)
    if budget is not None and options.samples is None:
        raise UsageError("this option is required with --budget.", option="samples")
    prompts, history = open_table(prompts_url, "prompts"), open_history(options.history)
    provenance = curriculum_provenance(options, prompts.fingerprint, [pair.fingerprints for pair in history])
    provenance = replace(provenance, details=input_content(pair.companion for pair in history))
    refuse_rewritten_history(out, provenance)
    rows = prompts.arrow()
    refuse_repeats(rows, "prompt_id", prompts.url)
    reads_tokens = priority.reads_tokens or (budget is not None and budget.reads_tokens)
    statistics = reward_statistics(history, progress, reads_tokens)
    candidates = weigh(rows["prompt_id"].to_pylist(), statistics, options)
    remaining = candidates.filter(pl.col("probability").is_not_null())
    if not remaining.height:
        raise InputError(
            f"{prompts.url}: all {rows.num_rows} prompts are retired: their mean reward reaches --retire-above "
            f"{options.retire_above:g} (or --retire-below). Change these options, or add prompts."
        )
    newest = max(statistics["round"].to_list(), default=-1)
    drawn = _drawn(remaining, options, newest, progress)
    if not drawn:
        raise InputError(
            f"{prompts.url}: every prompt's priority is 0 (as that of equal rewards), so every chance is 0. Raise "
            "--uniform-mix, e.g. to 0.2."
        )
    chosen = rows.filter(pc.is_in(rows["prompt_id"], value_set=array_of(drawn, pa.string())))
    if budget is not None and options.samples is not None:
        chosen = with_samples(chosen, budget.counts(_history_of(chosen, statistics), options.samples * len(drawn)))
        if not chosen.num_rows:
            raise InputError(f"{prompts.url}: the budget '{options.budget}' gives no prompt a sample.")
    writer = TableWriter(out, provenance, -(-chosen.num_rows // ROWS_PER_PART), progress)
    for index in writer.missing():
        writer.write(index, chosen.slice(index * ROWS_PER_PART, ROWS_PER_PART))
    writer.finish()
    summary = _summarize(candidates, chosen["prompt_id"].to_pylist(), provenance.fingerprint)
    if budget is None:
        return summary
    counted = int(pc.sum(chosen["samples"]).as_py())
    return replace(summary, samples=counted, without_samples=len(drawn) - chosen.num_rows)


def _drawn(candidates: pl.DataFrame, options: CurriculumOptions, newest_round: int, progress: Progress) -> list[str]:
    """The IDs of as many prompts as the options ask for; fewer where the others have no chance."""
    number = options.num_prompts or max(1, round((options.fraction or 1.0) * candidates.height))
    ids, chances = (candidates[name].to_list() for name in ("prompt_id", "probability"))
    drawn = draw(ids, chances, number, [options.seed, newest_round])
    if 0 < len(drawn) < number:
        chosen = some(len(drawn), "prompt is", "prompts are")
        progress.warn(f"{chosen} chosen instead of {number}: all others have a chance of 0.")
    return drawn


def with_samples(prompts: pa.Table, counts: Sequence[int]) -> pa.Table:
    """The prompts with these numbers of samples; those with none are left out."""
    others = prompts.select([name for name in prompts.column_names if name != SAMPLES])
    counted = others.append_column(SAMPLES, array_of(counts, pa.int32()))
    return counted.filter(array_of([count > 0 for count in counts], pa.bool_()))


def _history_of(prompts: pa.Table, statistics: pl.DataFrame) -> pl.DataFrame:
    """The history of these prompts, in their order."""
    ids = pl.DataFrame({"prompt_id": prompts["prompt_id"].to_pylist()}, schema={"prompt_id": pl.String})
    return ids.join(statistics, on="prompt_id", how="left", maintain_order="left")


def weigh(prompt_ids: Sequence[str], statistics: pl.DataFrame, options: CurriculumOptions) -> pl.DataFrame:
    """Which prompts may be drawn, and the probability of each to be drawn first.

    The assumed variance of an unseen prompt is the mean variance of the seen prompts that are not retired, and so is
    the priority of a prompt of which the priority says nothing.

    Args:
        statistics: see `reward_statistics`; with what the priority reads.

    Returns:
        one row per prompt, in the given order: prompt_id; mean, null if unseen; variance, the assumed one if unseen;
        is_solved and is_hopeless, the reasons for retiring it; probability, null if it is retired.
    """
    mean = pl.col("mean")
    rows = pl.DataFrame({"prompt_id": prompt_ids}, schema={"prompt_id": pl.String})
    rows = rows.join(statistics, on="prompt_id", how="left", maintain_order="left").with_columns(
        (mean >= options.retire_above).fill_null(False).alias("is_solved"),
        _hopeless(mean, options.retire_below).fill_null(False).alias("is_hopeless"),
    )
    is_retired = pl.col("is_solved") | pl.col("is_hopeless")
    rows = rows.with_columns(load_priority(options).priorities(rows).alias(PRIORITY))
    assumed = {name: rows.filter(~is_retired)[name].mean() for name in ("variance", PRIORITY)}
    rows = rows.with_columns(  # 1: all are unseen
        pl.col(name).fill_null(1.0 if value is None else value) for name, value in assumed.items()
    )
    remaining = rows.filter(~is_retired)
    chances = pl.DataFrame(
        {
            "prompt_id": remaining["prompt_id"],
            "probability": probabilities(remaining[PRIORITY].to_list(), options.uniform_mix),
        },
        schema={"prompt_id": pl.String, "probability": pl.Float64},
    )
    return rows.join(chances, on="prompt_id", how="left", maintain_order="left")


def _hopeless(mean: pl.Expr, retire_below: float | None) -> pl.Expr:
    return pl.lit(False) if retire_below is None else mean <= retire_below


def _summarize(candidates: pl.DataFrame, drawn: Sequence[str], fingerprint: str) -> CurriculumSummary:
    """Args: candidates: what `weigh` returns."""
    seen = candidates.filter(pl.col("mean").is_not_null())
    chosen = candidates.filter(pl.col("prompt_id").is_in(list(drawn)))
    remaining = candidates.filter(pl.col("probability").is_not_null())
    summary = CurriculumSummary(
        prompts=candidates.height,
        seen=seen.height,
        unseen=candidates.height - seen.height,
        retired_solved=int(candidates["is_solved"].sum()),
        retired_hopeless=int(candidates["is_hopeless"].sum()),
        chosen=chosen.height,
        chosen_unseen=chosen["mean"].null_count(),
        mean_variance=_mean(seen["variance"]),
        mean_variance_remaining=_mean(remaining["variance"]),
        mean_variance_chosen=_mean(chosen["variance"]),
        fingerprint=fingerprint,
    )
    summary.notes.extend(notes.curriculum(summary.mean_variance, summary.seen, summary.chosen_unseen, summary.chosen))
    return summary


def _mean(values: pl.Series) -> float | None:
    return math.fsum(values.to_list()) / len(values) if len(values) else None
