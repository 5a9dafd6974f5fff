"""`grao advantages`: groups + scores → advantages."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from grao_pipeline.advantages.combine import check_combination, combined_reward
from grao_pipeline.advantages.estimators import ESTIMATORS, group_mean, group_std
from grao_pipeline.config import AdvantagesOptions
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.plugins import load, named_source
from grao_pipeline.schemas import ADVANTAGES
from grao_pipeline.storage.flat_view import GROUP_COLUMNS, SCORE_COLUMNS, flat_view
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.writer import TableWriter


@dataclass(frozen=True)
class WeightedScores:
    """A scores table and its weight in the combined reward, e.g. `WeightedScores("scores/gsm8k", 0.8)`."""

    url: str
    weight: float = 1.0

    @staticmethod
    def parse(text: str) -> "WeightedScores":
        """`PATH` or `PATH=WEIGHT`.

        Raises:
            UsageError: the weight is not a finite number.
        """
        url, separator, weight = text.rpartition("=")
        if not separator:
            return WeightedScores(text)
        try:
            value = float(weight)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UsageError(f"--scores {text}: the weight {weight!r} is not a number. Write PATH=WEIGHT.")
        return WeightedScores(url, value)


@dataclass
class AdvantagesSummary:
    """What the whole table holds (parts that earlier runs made included)."""

    groups: int = 0
    parts_made: int = 0
    parts_found: int = 0
    samples: int = 0
    unscored_samples: int = 0
    zero_variance_groups: int = 0
    groups_without_reference: int = 0
    """Groups that are trained on their samples alone."""
    trained_groups: int = 0
    trained_samples: int = 0
    mean_reward: float | None = None
    fingerprint: str = ""


def advantages_provenance(
    options: AdvantagesOptions, groups_fingerprint: str, scores: Sequence[tuple[str, str, float]]
) -> Provenance:
    """The identity of an advantages table.

    Args:
        scores: of each scores table its reward's name, fingerprint and weight.
    """
    inputs = {"groups": groups_fingerprint, "scores": [list(score) for score in scores]}
    shaping = options.content() | named_source("estimator", options.estimator, ESTIMATORS)
    return Provenance("advantages", stage_fingerprint("advantages", shaping, inputs), shaping, inputs)


def compute_advantages(
    groups_url: str,
    out: str,
    scores: Sequence[WeightedScores],
    options: AdvantagesOptions,
    notice: Callable[[str], None] = lambda _: None,
) -> AdvantagesSummary:
    """Combine rewards, estimate advantages, mask what is not to be trained on; write the table, part by part.

    Raises:
        UsageError: no scores, two with one name, a combination that cannot be made of them, or an unknown estimator.
        MismatchError: scores and groups do not belong together, or `out` holds other work.
    """
    groups = open_table(groups_url, "groups")
    readers, weights = _open_scores(groups, scores)
    check_combination(options, weights)
    estimator = load("estimator", options.estimator, ESTIMATORS)
    provenance = advantages_provenance(
        options, groups.fingerprint, [(name, readers[name].fingerprint, weights[name]) for name in readers]
    )
    writer = TableWriter(out, provenance, groups.num_parts, notice)
    writer.discard_changed_parts(groups)
    summary = AdvantagesSummary(
        groups=groups.num_rows, parts_found=writer.num_committed, fingerprint=provenance.fingerprint
    )
    for index in writer.missing():
        part = groups.part(index, GROUP_COLUMNS)
        ids = part.column("group_id")
        aligned = {name: reader.aligned_part(ids, index, SCORE_COLUMNS) for name, reader in readers.items()}
        view = flat_view(part, aligned).with_columns(combined_reward(weights, options).alias("reward"))
        writer.write(index, advantages_of(view, estimator, options))
        summary.parts_made += 1
    writer.finish()
    _summarise(writer, groups.num_parts, summary)
    return summary


def advantages_of(view: pl.DataFrame, estimator: Callable[..., pl.Expr], options: AdvantagesOptions) -> pa.Table:
    """The advantages table of a flat view that has the combined `reward`."""
    rows = _estimate(view, estimator, options).with_columns(
        group_mean(options.statistics).alias("mean"), group_std(options.statistics).alias("std")
    )
    if not options.keep_zero_variance:
        rows = rows.with_columns(pl.when(pl.col("std") > 0.0).then("advantage"))
    is_reference = pl.col("source") == "reference"
    if options.reference_floor is not None:
        floored = pl.max_horizontal("advantage", pl.lit(options.reference_floor))
        clamp = is_reference & pl.col("advantage").is_not_null()
        rows = rows.with_columns(pl.when(clamp).then(floored).otherwise("advantage").alias("advantage"))
    grouped = rows.group_by("row", maintain_order=True).agg(
        pl.col("group_id").first(),
        pl.col("reward").filter(~is_reference).alias("rewards"),
        pl.col("advantage").filter(~is_reference).alias("advantages"),
        pl.col("advantage").filter(is_reference).first().alias("reference_advantage"),
        pl.col("mean").first().alias("reward_mean"),
        pl.col("std").first().alias("reward_std"),
    )
    columns = [column.name for column in ADVANTAGES.columns if column.name in grouped.columns]
    return grouped.select(columns).to_arrow()


def _estimate(view: pl.DataFrame, estimator: Callable[..., pl.Expr], options: AdvantagesOptions) -> pl.DataFrame:
    """The view with column `advantage`.

    Raises:
        StageFailure: somebody's own estimator failed; a failure of ours is a bug and keeps its traceback.
    """
    try:
        return view.with_columns(estimator(view, statistics=options.statistics).alias("advantage"))
    except Exception as error:
        if options.estimator in ESTIMATORS:
            raise
        raise StageFailure(
            f"Estimator '{options.estimator}' failed: {type(error).__name__}: {error}. It is called as "
            "f(view, statistics=…) and returns a Polars expression."
        ) from error


def _open_scores(
    groups: TableReader, scores: Sequence[WeightedScores]
) -> tuple[dict[str, TableReader], dict[str, float]]:
    if not scores:
        raise UsageError("--scores is required: give at least one scores table, as PATH or PATH=WEIGHT.")
    readers: dict[str, TableReader] = {}
    weights: dict[str, float] = {}
    for score in scores:
        reader = open_table(score.url, "scores")
        name = str(reader.provenance.options.get("name") or score.url.rstrip("/").rpartition("/")[2])
        if name in readers:
            raise UsageError(
                f"--scores {score.url}: a second table with the reward name '{name}'. "
                "Score it under another name: grao score … --name NAME."
            )
        reader.refuse_other_groups(groups)
        readers[name], weights[name] = reader, score.weight
    return readers, weights


def _summarise(writer: TableWriter, num_parts: int, summary: AdvantagesSummary) -> None:
    """Count over all parts with Polars."""
    total = 0.0
    for index in range(num_parts):
        frame = pl.DataFrame(pl.from_arrow(writer.read(index)))
        trained = pl.col("advantages").list.drop_nulls().list.len()
        counts = frame.select(
            samples=pl.col("rewards").list.len().sum(),
            scored=pl.col("rewards").list.drop_nulls().list.len().sum(),
            zero_variance=(pl.col("reward_std") == 0.0).sum(),
            without_reference=((trained > 0) & pl.col("reference_advantage").is_null()).sum(),
            trained_groups=((trained > 0) | pl.col("reference_advantage").is_not_null()).sum(),
            trained_samples=trained.sum(),
            total=pl.col("rewards").list.eval(pl.element().cast(pl.Float64)).list.sum().sum(),
        ).row(0, named=True)
        summary.samples += counts["samples"]
        summary.unscored_samples += counts["samples"] - counts["scored"]
        summary.zero_variance_groups += counts["zero_variance"]
        summary.groups_without_reference += counts["without_reference"]
        summary.trained_groups += counts["trained_groups"]
        summary.trained_samples += counts["trained_samples"]
        total += counts["total"] or 0.0
    scored = summary.samples - summary.unscored_samples
    summary.mean_reward = total / scored if scored else None
