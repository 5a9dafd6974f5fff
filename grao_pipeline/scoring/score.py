"""`grao score`: groups → scores. Every sample is judged, and the reference like a sample."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain

from grao_pipeline.errors import UsageError
from grao_pipeline.progress import SILENT, Bar, Progress
from grao_pipeline.schemas import SCORES
from grao_pipeline.scoring.applicability import Applicability, absent_fields
from grao_pipeline.scoring.cached_reward import CachedReward
from grao_pipeline.scoring.failure_gate import FailureGate, ScoredPart
from grao_pipeline.scoring.named_reward import make_reward, reward_fingerprint, reward_name, scores_provenance
from grao_pipeline.scoring.open_cache import open_cache
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.part_judge import ABORTED_SAMPLE, PartJudge
from grao_pipeline.scoring.retry import retry_errors
from grao_pipeline.scoring.rewards.base import Judgement, Reward
from grao_pipeline.scoring.seen_texts import SeenTexts
from grao_pipeline.scoring.several_processes import judge_in_processes, shares_of
from grao_pipeline.scoring.summary import SUMMARY_COLUMNS, ScoreSummary, ScoreTally
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.rows_to_arrow import rows_to_arrow
from grao_pipeline.storage.writer import PartShare, TableWriter


def score_groups(
    groups_url: str,
    out: str,
    options: ScoreOptions,
    progress: Progress = SILENT,
    *,
    reward: Reward | None = None,
) -> ScoreSummary:
    """Judge every sequence of a groups table and write the scores table, part by part.

    Example:
        options = ScoreOptions(reward="length", reward_arg=["target=40"])
        score_groups("runs/groups", "runs/scores", options)

    Args:
        reward: the reward itself, which stays open; None makes the one that the options name, and closes it.

    Raises:
        InputError: the groups are not usable.
        MismatchError: `out` holds a table with another fingerprint.
        StageFailure: every sample failed, or the reward broke its contract.
    """
    groups = open_table(groups_url, "groups")
    is_given = reward is not None
    if is_given and (options.processes not in ("auto", 1) or options.executor == "ray"):
        option = "executor" if options.executor == "ray" else "processes"
        raise UsageError("a reward object judges in its own process.", option=option)
    with ExitStack() as stack:
        reward = reward or stack.enter_context(closing(make_reward(options, progress, f"{out}.batches")))
        provenance = scores_provenance(options, groups.fingerprint, reward)

        def open_writer() -> TableWriter:
            return TableWriter(out, provenance, groups.num_parts, progress, PartShare.parse(options.worker))

        writer = open_writer()
        writer.discard_changed_parts(groups)
        cache = None
        if options.use_cache and (writer.missing() or options.retry_errors):
            cache = stack.enter_context(closing(open_cache(options.cache, progress=progress)))
        judge = CachedReward(reward, reward_fingerprint(options, reward), reward_name(options), cache)
        gate = FailureGate(options.reward, is_open=writer.num_committed > 0)
        summary = ScoreSummary(
            groups=groups.num_rows,
            parts_found=writer.num_committed,
            fingerprint=provenance.fingerprint,
            name=reward_name(options),
        )
        tally = ScoreTally(summary, reward, options.when)
        seen = SeenTexts(options.score_on, groups.provenance.details.get("reasoning_marks"))
        parts = PartJudge(groups, judge, Applicability(options, reward), seen, summary)
        num_missing = sum(groups.manifest.parts[index].rows for index in writer.missing())
        committed = writer.num_committed_rows
        bar = stack.enter_context(progress.track("scoring", committed + num_missing, "groups", committed))
        shares = [] if is_given else shares_of(options, reward, writer.missing())
        if shares:
            for of_process in judge_in_processes(groups_url, out, options, reward, shares, progress, bar):
                summary.add_process(of_process)
            if options.executor == "ray":
                bar.advance(num_missing)
            writer = open_writer()
        if options.retry_errors:
            retry_errors(parts, writer, summary, progress)
        if options.when is not None and groups.num_parts:
            summary.remarks += absent_fields(options.when, parts.metadata(0))
        _tally_committed(tally, groups, writer)
        missing = writer.missing()
        if options.batch:
            parts.ask_ahead(missing)
        if missing:
            started = time.perf_counter()
            for index, scores in _judged(parts, missing, gate, tally, bar):
                writer.write(index, rows_to_arrow(scores, SCORES.arrow()))
                summary.parts_made += 1
                bar.log(
                    f"part {index} committed · {summary.samples:,} samples scored · "
                    f"{judge.misses:,} judgements made, {judge.hits:,} known already"
                )
            summary.seconds += time.perf_counter() - started
        summary.parts_left_to_other_workers = len(writer.finish())
        if not summary.parts_left_to_other_workers:
            reward.stored()
        summary.remarks += [*reward.remarks(), *(cache.remarks() if cache is not None else [])]
    summary.cache_hits += judge.hits
    summary.cache_misses += judge.misses
    summary.cache_damaged += cache.damaged if cache is not None else 0
    summary.tokens_spent += judge.tokens_spent
    summary.tokens_saved += judge.tokens_saved
    tally.finish()
    return summary


def _tally_committed(tally: ScoreTally, groups: TableReader, writer: TableWriter) -> None:
    for index in writer.committed():
        is_null = groups.part(index, ["reference"]).column("reference").is_null().to_pylist()
        tally.add(writer.read(index, SUMMARY_COLUMNS).to_pylist(), [not null for null in is_null])


def _judged(
    parts: PartJudge, indices: Sequence[int], gate: FailureGate, tally: ScoreTally, bar: Bar
) -> Iterator[ScoredPart]:
    """The parts with their rows of scores, as soon as they can be written."""
    for index in indices:
        rows = parts.rows(index)
        judgements = parts.judgements([parts.sequences(row) for row in rows], bar)
        scores = [parts.scores(row, judged) for row, judged in zip(rows, judgements, strict=True)]
        tally.add(scores, [row["reference"] is not None for row in rows])
        samples = [judged[: len(row["completions"])] for row, judged in zip(rows, judgements, strict=True)]
        yield from gate.admit((index, scores), _failures(list(chain(*samples))))
    yield from gate.finish()


def _failures(samples: Sequence[Judgement]) -> list[str] | None:
    """Why the samples of a part failed, if all of them did; None if one was judged. Samples that were aborted, or that
    the reward is not meant for, do not count."""
    counted = [one for one in samples if one is not ABORTED_SAMPLE and one.status != "not_applicable"]
    if any(judgement.status != "error" for judgement in counted):
        return None
    return [judgement.detail or "no reason given" for judgement in counted]
