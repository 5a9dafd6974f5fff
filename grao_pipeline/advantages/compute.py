"""`grao advantages`: groups + scores → advantages."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

import numpy as np
import polars as pl
import pyarrow as pa

from grao_pipeline.advantages.combine import check_combination
from grao_pipeline.advantages.estimate import (
    add_advantages,
    advantages_table,
    count_rewards,
    needed_columns,
    reward_values,
    table_values,
)
from grao_pipeline.advantages.estimators.load import load_estimator
from grao_pipeline.advantages.inputs import ScoredGroups, open_scored_groups
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.own_functions import own_sources
from grao_pipeline.advantages.pool import Pool, open_pool
from grao_pipeline.advantages.recipe import Recipe, RecipeResult, Statistic
from grao_pipeline.advantages.summary import AdvantagesSummary, Tally
from grao_pipeline.advantages.table_std import Moments
from grao_pipeline.advantages.token_weights.tokens import refuse_without_steps
from grao_pipeline.advantages.token_weights.weigh import GROUP_COLUMNS, STEP_COLUMNS, TOKEN_ADVANTAGES, weighed
from grao_pipeline.errors import UsageError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.storage.input_content import input_content
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.writer import TableWriter

PooledFingerprints = Sequence[tuple[str, Sequence[tuple[str, str]]]]
"""Per pooled groups table its fingerprint, and per reward the name and the fingerprint of the scores."""


def advantages_provenance(
    options: AdvantagesOptions,
    groups_fingerprint: str,
    scores: Sequence[tuple[str, str, float]],
    pool: PooledFingerprints = (),
    features: Sequence[tuple[str, str]] = (),
) -> Provenance:
    """The identity of an advantages table.

    Args:
        scores: per scores table the name of its reward, its fingerprint and its weight.
        pool: the pooled tables. Their order has no influence, nor has the order of their rewards.
        features: per feature its name and the fingerprint of its scores.
    """
    inputs: dict[str, object] = {"groups": groups_fingerprint, "scores": [list(score) for score in scores]}
    if pool:
        inputs["pool"] = sorted([groups, sorted(map(list, rewards))] for groups, rewards in pool)
    if features:
        inputs["features"] = sorted(map(list, features))
    shaping = options.content() | own_sources(options)
    return Provenance("advantages", stage_fingerprint("advantages", shaping, inputs), shaping, inputs)


@dataclass(frozen=True)
class Batch:
    """Consecutive parts that are computed together."""

    parts: range
    rows: pl.DataFrame
    """The rows of their flat view, followed by what the pool adds to their prompts."""
    is_own: np.ndarray
    """Which rows belong to the parts themselves: [len(rows)] bool."""
    group_ids: pl.Series


@dataclass
class Computation:
    """What is computed, from which tables. `open_computation` makes one; `batches` computes it."""

    inputs: ScoredGroups
    pooled: list[ScoredGroups]
    recipe: Recipe
    provenance: Provenance
    result: RecipeResult = field(default_factory=RecipeResult)
    """Complete after the last batch."""

    def batches(self) -> Iterator[Batch]:
        """The parts' own rows with `advantage`, `mean` and `std`."""
        columns = needed_columns(self.recipe, self.inputs.features)
        pool = Pool.of(self.inputs, self.pooled, columns) if self.pooled else None
        newest_round = self.inputs.newest_round() if "round" in columns else None
        viewed = partial(self._viewed, columns, pool)
        of_rewards, unread = _statistics(viewed(), lambda view: reward_values(view, self.recipe))
        self.result = RecipeResult(newest_round, of_rewards)
        if self.recipe.estimator.reads_table_std:
            counted = self._counted(unread or viewed())
            of_table, unread = _statistics(counted, lambda view: table_values(view, self.recipe))[0], None
            self.result = RecipeResult(newest_round, of_rewards, of_table)
        for batch in self._counted(unread or viewed()):
            rows = add_advantages(batch.rows, self.recipe, self.result, batch.is_own)
            yield replace(batch, rows=rows if pool is None else rows.filter(pl.Series(batch.is_own)))

    def weighed(self, parts: range, table: pa.Table) -> pa.Table:
        """Consecutive parts of the advantages table with the weights of tokens, where there are functions for them."""
        functions = self.recipe.token_functions
        if not functions:
            return table
        names = {name for function in functions if (name := function.reads_steps_of) is not None}
        weighed_parts, start = [], 0
        for index in parts:
            groups = self.inputs.groups.part(index, GROUP_COLUMNS)
            steps = {
                name: self.inputs.features[name].aligned_part(groups.column("group_id"), index, STEP_COLUMNS)
                for name in names
            }
            weighed_parts.append(weighed(table.slice(start, len(groups)), groups, steps, functions))
            start += len(groups)
        return pa.concat_tables(weighed_parts)

    def _counted(self, viewed: Iterator[Batch]) -> Iterator[Batch]:
        """The batches after the filters before the statistics."""
        for batch in viewed:
            yield replace(batch, rows=count_rewards(batch.rows, self.recipe, self.result, batch.is_own))

    def _viewed(self, columns: list[str], pool: Pool | None) -> Iterator[Batch]:
        """The batches as the tables have them."""
        first_row = 0
        for parts in self.inputs.batches():
            view, group_ids = self.inputs.view(parts, columns if pool is None else [*columns, "prompt_id"])
            is_own = np.ones(len(view), dtype=bool)
            if pool is not None:
                view, is_own = pool.join(view, first_row)
            elif "group_id" not in view.columns:
                # The number of the group instead of its ID: the same groups, without comparing strings.
                view = view.with_columns(pl.col("row").set_sorted().alias("group_id"))
            first_row += len(group_ids)
            yield Batch(parts, view, is_own, group_ids)


def _statistics(
    batches: Iterator[Batch], values_of: Callable[[pl.DataFrame], pl.DataFrame]
) -> tuple[dict[str, Statistic], Iterator[Batch] | None]:
    """Statistics over the table of the columns that a function makes of a view. Where it makes none, also the batches:
    one of them has been read for that, and is not read again.
    """
    moments: dict[str, Moments] = {}
    for batch in batches:
        values = values_of(batch.rows)
        if not values.width:
            return {}, chain([batch], batches)
        for name in values.columns:
            of_table = values[name].filter(pl.Series(batch.is_own)).drop_nulls()
            moments.setdefault(name, Moments()).add(of_table.to_numpy())
    return {name: Statistic(of_name.mean(), of_name.std(), of_name.count) for name, of_name in moments.items()}, None


def open_computation(groups_url: str, options: AdvantagesOptions) -> Computation:
    """Open and check everything that `grao advantages` reads.

    Raises:
        UsageError: no scores, two with the same name, a combination that does not fit them, or an unknown estimator.
        MismatchError: scores and groups do not belong together.
        InputError: token weights read the steps of scores that have none.
    """
    inputs, weights = open_scored_groups(open_table(groups_url, "groups"), options.scores, options.feature)
    check_combination(options, weights)
    recipe = Recipe(options, weights, load_estimator(options)).load()
    pooled = open_pool(options.pool, list(weights))
    described = [(name, reader.fingerprint, weights[name]) for name, reader in inputs.scores.items()]
    others = [(t.groups.fingerprint, [(name, r.fingerprint) for name, r in t.scores.items()]) for t in pooled]
    features = [(name, reader.fingerprint) for name, reader in inputs.features.items()]
    provenance = advantages_provenance(options, inputs.groups.fingerprint, described, others, features)
    # Scores may be rewritten in place (--retry-errors): advantages of the earlier ones are computed again.
    scores = [reader for table in (inputs, *pooled) for reader in table.scores.values()]
    details: dict[str, object] = {**input_content([*scores, *inputs.features.values()])}
    for function in recipe.token_functions:
        steps_of = function.reads_steps_of
        if steps_of is not None and steps_of not in inputs.features:
            raise UsageError(
                f"{function.name} reads the steps of '{steps_of}': give {steps_of}=TABLE.", option="feature"
            )
        if steps_of is not None:
            refuse_without_steps(steps_of, inputs.features[steps_of])
        if function.gives_advantages:
            details[TOKEN_ADVANTAGES] = function.name
    provenance = replace(provenance, details=details)
    return Computation(inputs, pooled, recipe, provenance)


def compute_advantages(
    groups_url: str, out: str, options: AdvantagesOptions, progress: Progress = SILENT
) -> AdvantagesSummary:
    """Combine rewards, estimate advantages, mask what is not trained on; write the table part by part.

    Example:
        options = AdvantagesOptions(scores=[WeightedScores(url="runs/scores")])
        compute_advantages("runs/groups", "runs/advantages", options)

    Raises:
        UsageError: see `open_computation`.
        MismatchError: see `open_computation`; or `out` holds a table with another fingerprint.
        InputError: no sample has a combined reward. Nothing is written then.
    """
    if options.executor == "ray":
        from grao_pipeline.ray_commands import run_stage_on_ray

        (of_command,) = run_stage_on_ray("advantages", [groups_url], out, [options.here()], address=options.ray_address)
        return AdvantagesSummary.from_json(of_command)
    computation = open_computation(groups_url, options)
    groups = computation.inputs.groups
    writer = TableWriter(out, computation.provenance, groups.num_parts, progress)
    writer.discard_changed_parts(groups)
    summary = AdvantagesSummary(parts_found=writer.num_committed, fingerprint=computation.provenance.fingerprint)
    tally = Tally(summary, computation.recipe)
    missing = set(writer.missing())
    waiting: list[tuple[range, pa.Table]] = []  # until a sample with a reward shows that there is something to write
    bar = progress.track("computing advantages", groups.num_parts, "parts")
    with bar, ThreadPoolExecutor(1) as disk:  # compressing and flushing one batch while the next one is computed
        writing: Future[None] | None = None
        for batch in computation.batches():
            tally.add(batch.rows, len(batch.group_ids))
            if not missing.isdisjoint(batch.parts):
                table = advantages_table(batch.rows, batch.group_ids)
                waiting.append((batch.parts, computation.weighed(batch.parts, table)))
            if writing is not None:
                writing.result()
            bar.advance(len(batch.parts), groups=summary.groups, mean_reward=summary.mean_reward)
            if not tally.has_nothing:
                writing, waiting = disk.submit(_write, writer, groups, waiting, missing), []
        if writing is not None:
            writing.result()
    tally.finish(computation.result)
    summary.parts_made = len(missing)
    writer.finish()
    return summary


def _write(
    writer: TableWriter, groups: TableReader, batches: Sequence[tuple[range, pa.Table]], missing: Collection[int]
) -> None:
    for parts, table in batches:
        writer.write_parts(parts, [groups.manifest.parts[index].rows for index in parts], table, missing)
