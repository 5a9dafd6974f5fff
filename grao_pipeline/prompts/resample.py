"""The verb `resample`: which prompts of a round are sampled further, since their groups teach nothing yet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from grao_pipeline import notes
from grao_pipeline.errors import MismatchError, UsageError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.options import StageOptions
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.budgets.failed import lacks_signal
from grao_pipeline.prompts.build import ROWS_PER_PART
from grao_pipeline.prompts.draw import draw
from grao_pipeline.prompts.options import ResampleOptions
from grao_pipeline.prompts.reward_history import open_history, reward_statistics
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.places import Place
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.rows_to_arrow import array_of
from grao_pipeline.storage.table_pair import TablePair
from grao_pipeline.storage.validation import refuse_repeats
from grao_pipeline.storage.writer import TableWriter

SAMPLES = "samples"


@dataclass(frozen=True)
class ResampleSummary:
    """What the groups teach, and what is asked for. `with_signal + without_signal + unscored == groups`.

    Attributes:
        samples: of all groups, before the new ones.
        unscored: groups without a scored sample; they are not sampled further.
        prompts: that are sampled further: those without a signal, or others in their place.
        new_samples: that they get together.
        prompts_left: without a signal, or to be replaced, that get none: the samples are spent, or no others are there.
    """

    groups: int
    with_signal: int
    without_signal: int
    unscored: int
    samples: int
    prompts: int
    new_samples: int
    prompts_left: int
    fingerprint: str = ""
    notes: list[str] = field(default_factory=list)


def resample_provenance(options: ResampleOptions, prompts: str, groups: str, scores: str) -> Provenance:
    """The identity of the table, by the fingerprints of its inputs."""
    inputs, content = {"prompts": prompts, "groups": groups, "scores": scores}, options.content()
    return Provenance("prompts", stage_fingerprint("resample", content, inputs), content, inputs)


def resample_identity(
    inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]
) -> Provenance:
    """What the rounds need to know before it runs."""
    assert isinstance(options, ResampleOptions)
    return resample_provenance(options, *(provenance_of(place).fingerprint for place in inputs))


def resample_prompts(
    prompts_url: str,
    groups_url: str,
    scores_url: str,
    out: str,
    options: ResampleOptions,
    progress: Progress = SILENT,
) -> ResampleSummary:
    """Write the prompts of the groups, each with its number of new samples, for `grao generate --extend GROUPS`.

    Example:
        resample_prompts("data/train", "r0/groups", "r0/scores", "r0/more", ResampleOptions(samples=8))

    Groups with a learning signal get 0 new samples. Prompts without one are taken in an order by hash until the samples
    are spent; with `replace` prompts without a group are, as many.

    Args:
        scores_url: of the groups; or advantages, whose reward is the combined one.

    Raises:
        UsageError: the number of samples is not given.
        InputError: a table is not usable.
        MismatchError: the tables do not belong together, or `out` holds another table.
    """
    if options.samples is None:
        raise UsageError("this option is required.", option="samples")
    prompts, (pair,) = open_table(prompts_url, "prompts"), open_history([(groups_url, scores_url)])
    provenance = resample_provenance(options, prompts.fingerprint, *pair.fingerprints)
    rows = prompts.arrow()
    refuse_repeats(rows, "prompt_id", prompts.url)
    groups = _groups(pair, options, progress)
    unknown = set(groups["prompt_id"]).difference(rows["prompt_id"].to_pylist())
    if unknown:
        raise MismatchError(f"{groups_url} has a group of prompt {min(unknown)}, which {prompts_url} does not hold.")
    lacking: list[str] = groups.filter(pl.col("lacks"))["prompt_id"].to_list()
    candidates = lacking
    if options.replace:
        sampled = set(groups["prompt_id"])
        candidates = [prompt_id for prompt_id in rows["prompt_id"].to_pylist() if prompt_id not in sampled]
    num_samples = int(groups[SAMPLES].sum())
    number = 0 if options.attempt >= options.attempts else len(lacking)
    if options.most_samples is not None:
        number = min(number, max(options.most_samples - num_samples, 0) // options.samples)
    chosen = draw(candidates, [1.0] * len(candidates), number, [options.seed])
    counts = dict.fromkeys(groups["prompt_id"], 0) | dict.fromkeys(chosen, options.samples)
    _write(out, provenance, rows, counts, progress)
    summary = ResampleSummary(
        groups=groups.height,
        with_signal=int((~groups["lacks"]).sum()),
        without_signal=len(lacking),
        unscored=int(groups["lacks"].null_count()),
        samples=num_samples,
        prompts=len(chosen),
        new_samples=len(chosen) * options.samples,
        prompts_left=len(lacking) - len(chosen),
        fingerprint=provenance.fingerprint,
    )
    summary.notes.extend(notes.resample(summary.without_signal, summary.groups, len(chosen), options.samples))
    return summary


def asks_for_samples(out: Place) -> bool:
    """Whether a finished table asks for new samples."""
    return bool(pc.sum(open_table(str(out), "prompts").arrow([SAMPLES])[SAMPLES]).as_py())


def _groups(pair: TablePair, options: ResampleOptions, progress: Progress) -> pl.DataFrame:
    """One row per group: prompt_id; samples; lacks, whether it has no learning signal, null where none is scored."""
    table = pair.groups.arrow(["prompt_id", "finish_reasons"])
    refuse_repeats(table, "prompt_id", pair.groups.url)
    counts = pc.list_value_length(table["finish_reasons"])
    groups = pl.DataFrame({"prompt_id": table["prompt_id"].to_pylist(), SAMPLES: counts.to_pylist()})
    lacks = lacks_signal(options.until, options.success_threshold).alias("lacks")
    statistics = reward_statistics([pair], progress).select("prompt_id", lacks)
    return groups.join(statistics, on="prompt_id", how="left", maintain_order="left")


def _write(out: str, provenance: Provenance, rows: pa.Table, counts: dict[str, int], progress: Progress) -> None:
    """The rows with a number of samples, in their order."""
    chosen_rows = rows.filter(pc.is_in(rows["prompt_id"], value_set=array_of(list(counts), pa.string())))
    chosen_rows = chosen_rows.select([name for name in chosen_rows.column_names if name != SAMPLES])
    numbers = [counts[prompt_id] for prompt_id in chosen_rows["prompt_id"].to_pylist()]
    chosen_rows = chosen_rows.append_column(SAMPLES, array_of(numbers, pa.int32()))
    writer = TableWriter(out, provenance, max(1, -(-chosen_rows.num_rows // ROWS_PER_PART)), progress)
    for index in writer.missing():
        writer.write(index, chosen_rows.slice(index * ROWS_PER_PART, ROWS_PER_PART))
    writer.finish()
