"""The verb `curriculum`: prompts and what earlier rounds made of them → the prompts of the next round."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.build import ROWS_PER_PART
from grao_pipeline.prompts.draw import draw, probabilities
from grao_pipeline.prompts.options import CurriculumOptions
from grao_pipeline.prompts.reward_history import open_history, reward_statistics
from grao_pipeline.schemas import refuse_repeats
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import TableWriter


@dataclass(frozen=True)
class CurriculumSummary:
    """What became of the prompts. `seen + unseen == prompts`.

    Attributes:
        seen: prompts of which an earlier round has a scored sample.
        retired_solved, retired_hopeless: those whose mean reward reaches --retire-above, or --retire-below.
        chosen_unseen: of the chosen ones, those never seen.
        mean_variance: reward variance of a prompt, the mean over all that were seen.
        mean_variance_left: the same over all that are not retired; an unseen one counts with what is assumed of it.
        mean_variance_chosen: the same over the chosen ones.
    """

    prompts: int
    seen: int
    unseen: int
    retired_solved: int
    retired_hopeless: int
    chosen: int
    chosen_unseen: int
    mean_variance: float | None
    mean_variance_left: float | None
    mean_variance_chosen: float | None
    fingerprint: str = ""


def curriculum_provenance(
    options: CurriculumOptions, prompts_fingerprint: str, history: Sequence[tuple[str, str]]
) -> Provenance:
    """The identity of the chosen prompts.

    Args:
        history: fingerprints of earlier groups and their scores (or advantages), in order.
    """
    inputs = {"prompts": prompts_fingerprint, "history": [list(pair) for pair in history]}
    content = options.content()
    return Provenance("prompts", stage_fingerprint("curriculum", content, inputs), content, inputs)


def choose_prompts(
    prompts_url: str, out: str, options: CurriculumOptions, progress: Progress = SILENT
) -> CurriculumSummary:
    """Write the prompts of the next round to the table OUT, in the order of `prompts_url`.

    Of a prompt that is in several rounds of `options.history`, the last counts.

    Raises:
        UsageError: there is no history.
        InputError: a table is not usable, or no prompt can be chosen.
        MismatchError: scores and groups do not belong together, or `out` holds other work.
    """
    if not options.history:
        raise UsageError("give the groups and the scores of at least one earlier round.", option="history")
    prompts, rounds = open_table(prompts_url, "prompts"), open_history(options.history)
    provenance = curriculum_provenance(options, prompts.fingerprint, [each.fingerprints for each in rounds])
    rows = prompts.read()
    refuse_repeats(rows, "prompt_id", prompts.url)
    statistics = reward_statistics(rounds)
    weighed = weigh(rows["prompt_id"].to_pylist(), statistics, options)
    left = weighed.filter(pl.col("probability").is_not_null())
    if not left.height:
        raise InputError(
            f"{prompts.url}: all {rows.num_rows} prompts are retired, their mean reward reaches --retire-above "
            f"{options.retire_above:g} (or --retire-below). Change these, or add prompts."
        )
    number = options.num_prompts or max(1, round((options.fraction or 1.0) * left.height))
    newest = max(statistics["round"].to_list(), default=-1)
    drawn = draw(left["prompt_id"].to_list(), left["probability"].to_list(), number, [options.seed, newest])
    if not drawn:
        raise InputError(
            f"{prompts.url}: no prompt's rewards differ, so none has a chance. Raise --uniform-mix, e.g. 0.2."
        )
    if len(drawn) < number:
        progress.note(f"{len(drawn)} prompts are chosen, not {number}: no others have a chance.")
    chosen = rows.filter(pc.is_in(rows["prompt_id"], value_set=pa.array(drawn, pa.string())))
    writer = TableWriter(out, provenance, -(-chosen.num_rows // ROWS_PER_PART), progress)
    for index in writer.missing():
        writer.write(index, chosen.slice(index * ROWS_PER_PART, ROWS_PER_PART))
    writer.finish()
    return _summarise(weighed, drawn, provenance.fingerprint)


def weigh(ids: Sequence[str], statistics: pl.DataFrame, options: CurriculumOptions) -> pl.DataFrame:
    """Who may be drawn, and how likely first.

    A prompt never seen counts with the mean variance of those that were and are not retired.

    Args:
        statistics: see `reward_statistics`.

    Returns:
        one row per id, in their order: prompt_id; mean, null where never seen; variance, the assumed one where never
        seen; is_solved and is_hopeless, why it is retired; probability, null where it is.
    """
    mean = pl.col("mean")
    rows = pl.DataFrame({"prompt_id": ids}, schema={"prompt_id": pl.String})
    rows = rows.join(statistics, on="prompt_id", how="left", maintain_order="left").with_columns(
        (mean >= options.retire_above).fill_null(False).alias("is_solved"),
        _hopeless(mean, options.retire_below).fill_null(False).alias("is_hopeless"),
    )
    is_left = ~pl.col("is_solved") & ~pl.col("is_hopeless")
    assumed = rows.filter(is_left)["variance"].mean()
    rows = rows.with_columns(pl.col("variance").fill_null(1.0 if assumed is None else assumed))  # all unseen: all alike
    left = rows.filter(is_left)
    chances = probabilities(left["variance"].to_list(), options.uniform_mix)
    found = pl.DataFrame(
        {"prompt_id": left["prompt_id"], "probability": chances},
        schema={"prompt_id": pl.String, "probability": pl.Float64},
    )
    return rows.join(found, on="prompt_id", how="left", maintain_order="left")


def _hopeless(mean: pl.Expr, retire_below: float | None) -> pl.Expr:
    return pl.lit(False) if retire_below is None else mean <= retire_below


def _summarise(weighed: pl.DataFrame, drawn: Sequence[str], fingerprint: str) -> CurriculumSummary:
    seen = weighed.filter(pl.col("mean").is_not_null())
    chosen = weighed.filter(pl.col("prompt_id").is_in(list(drawn)))
    left = weighed.filter(pl.col("probability").is_not_null())
    return CurriculumSummary(
        prompts=weighed.height,
        seen=seen.height,
        unseen=weighed.height - seen.height,
        retired_solved=int(weighed["is_solved"].sum()),
        retired_hopeless=int(weighed["is_hopeless"].sum()),
        chosen=chosen.height,
        chosen_unseen=chosen["mean"].null_count(),
        mean_variance=_mean(seen["variance"]),
        mean_variance_left=_mean(left["variance"]),
        mean_variance_chosen=_mean(chosen["variance"]),
        fingerprint=fingerprint,
    )


def _mean(values: pl.Series) -> float | None:
    return math.fsum(values.to_list()) / len(values) if len(values) else None
