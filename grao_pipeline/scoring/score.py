"""`grao score`: groups → scores. Every sample is judged, and the reference like a sample."""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import pyarrow as pa

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.json_text import InvalidJson, parse_object
from grao_pipeline.messages import plain_messages
from grao_pipeline.progress import SILENT, Bar, Progress
from grao_pipeline.schemas import SCORES
from grao_pipeline.scoring.applicability import Applicability
from grao_pipeline.scoring.cached_reward import CachedReward
from grao_pipeline.scoring.condition import ConditionError
from grao_pipeline.scoring.failure_gate import FailureGate, ScoredPart
from grao_pipeline.scoring.named_reward import make_reward, reward_fingerprint, reward_name, scores_provenance
from grao_pipeline.scoring.open_cache import open_cache
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.retry import Row, Sequences, num_candidates, without_judged
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward
from grao_pipeline.scoring.seen_texts import SeenTexts
from grao_pipeline.scoring.several_processes import judge_in_processes, shares_of
from grao_pipeline.scoring.steps import steps_column
from grao_pipeline.scoring.summary import SUMMARY_COLUMNS, ScoreSummary, ScoreTally
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import PartShare, TableWriter

COLUMNS = ["group_id", "messages", "reference", "metadata", "completions", "reasoning", "answers", "finish_reasons"]
REFERENCE = -1
ABORTED_SAMPLE = Judgement(None, "error", "the sample was aborted")


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
        writer = TableWriter(out, provenance, groups.num_parts, progress, PartShare.parse(options.worker))
        writer.discard_changed_parts(groups)
        cache = None
        if options.use_cache and (writer.missing() or options.retry_errors):
            cache = stack.enter_context(closing(open_cache(options.cache, progress=progress)))
        scope = Applicability(options, reward)
        judge = CachedReward(reward, reward_fingerprint(options, reward), reward_name(options), cache)
        gate = FailureGate(options.reward, is_open=writer.num_committed > 0)
        summary = ScoreSummary(
            groups=groups.num_rows,
            parts_found=writer.num_committed,
            fingerprint=provenance.fingerprint,
            name=reward_name(options),
        )
        seen = SeenTexts(options.score_on, groups.provenance.details.get("reasoning_marks"))

        def rows_of(index: int) -> list[Row]:
            return [seen.row(row) for row in groups.part(index, COLUMNS).to_pylist()]

        tally = ScoreTally(summary, reward, options.when)
        missing = writer.missing()
        committed = writer.num_committed_rows
        num_missing = sum(groups.manifest.parts[index].rows for index in missing)
        bar = stack.enter_context(progress.track("scoring", committed + num_missing, "groups", committed))
        shares = [] if is_given else shares_of(options, reward, missing)
        if len(shares) > 1 or (shares and options.executor == "ray"):
            for of_process in judge_in_processes(groups_url, out, options, reward, shares, progress, bar):
                summary.add_process(of_process)
            if options.executor == "ray":
                bar.advance(num_missing)
            writer = TableWriter(out, provenance, groups.num_parts, progress, PartShare.parse(options.worker))
            missing = writer.missing()
        if options.retry_errors:
            _retry_errors(rows_of, writer, judge, scope, summary, progress)
        for index in writer.committed():
            is_null = groups.part(index, ["reference"]).column("reference").is_null().to_pylist()
            tally.add(writer.read(index, SUMMARY_COLUMNS).to_pylist(), [not null for null in is_null])
        if options.batch:
            groups_ahead = (_sequences(row, judge.reads_group, scope) for index in missing for row in rows_of(index))
            judge.ask_ahead(sequence for group in groups_ahead for sequence in group if isinstance(sequence, Candidate))
        started = time.perf_counter()
        for index in missing:
            rows = rows_of(index)
            sequences = [_sequences(row, judge.reads_group, scope) for row in rows]
            judged = list(zip(rows, _judge(sequences, judge, bar), strict=True))
            scores = [_scores_row(row, judgements, summary) for row, judgements in judged]
            tally.add(scores, [row["reference"] is not None for row in rows])
            if parts := gate.admit((index, scores), _failures(judged)):
                _write(writer, parts, summary)
                bar.log(
                    f"part {index} committed · {summary.samples:,} samples scored · "
                    f"{judge.misses:,} judgements made, {judge.hits:,} known already"
                )
        _write(writer, gate.finish(), summary)
        summary.seconds += time.perf_counter() - started if missing else 0.0
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


def _retry_errors(
    rows_of: Callable[[int], list[Row]],
    writer: TableWriter,
    judge: CachedReward,
    scope: Applicability,
    summary: ScoreSummary,
    progress: Progress,
) -> None:
    """Judge the errors of the committed parts once more. A part with a new judgement is rewritten as a whole; until all
    are, the table counts as unfinished, and the same command resumes."""
    with progress.track("retrying errors", writer.num_committed, "parts") as bar:
        for index in writer.committed():
            rows, stored = rows_of(index), writer.read(index).to_pylist()
            sequences = [
                without_judged(_sequences(row, judge.reads_group, scope), of_row, row["starts"])
                for row, of_row in zip(rows, stored, strict=True)
            ]
            if num_candidates(sequences):
                judged = list(zip(rows, _judge(sequences, judge, Bar()), strict=True))
                scores = [
                    {**of_row, **_scores_row(*pair, summary)} for of_row, pair in zip(stored, judged, strict=True)
                ]
                _count_retried(sequences, judged, summary)
                if scores != stored:
                    writer.replace(index, pa.Table.from_pylist(scores, schema=SCORES.arrow()))
                    summary.parts_rewritten += 1
            bar.advance(1, retried=summary.samples_retried, errors_left=summary.errors_left)


def _count_retried(
    sequences: list[Sequences], judged: list[tuple[Row, list[Judgement]]], summary: ScoreSummary
) -> None:
    for group, (row, judgements) in zip(sequences, judged, strict=True):
        for sequence, judgement, _ in zip(group, judgements, row["completions"], strict=False):
            summary.samples_retried += isinstance(sequence, Candidate)
            summary.errors_left += isinstance(sequence, Candidate) and judgement.status == "error"


def _judge(sequences: list[Sequences], judge: CachedReward, bar: Bar) -> list[list[Judgement]]:
    """Judge the sequences of a part in one call; those whose judgement is decided are not shown to the reward.

    Args:
        sequences: per row its samples, then its reference if it has one.
    """
    candidates = [sequence for group in sequences for sequence in group if isinstance(sequence, Candidate)]
    groups_per_candidate = len(sequences) / max(1, len(candidates))

    def on_judged(num: int) -> None:
        counts = {"judgements": judge.hits + judge.misses, "cache_hits": judge.hits, "cache_misses": judge.misses}
        bar.advance(num * groups_per_candidate, **counts)

    judgements = iter(judge.score(candidates, on_judged))
    if not candidates:
        bar.advance(len(sequences))
    return [
        [sequence if isinstance(sequence, Judgement) else next(judgements) for sequence in group] for group in sequences
    ]


def _sequences(row: Row, reads_group: bool, scope: Applicability) -> Sequences:
    """A group's samples and its reference, if it has one; a judgement in place of those that are not judged."""
    metadata = _metadata(row)
    try:
        exclusion = scope.exclusion(metadata, row["reference"])
    except ConditionError as error:
        raise InputError(f"Group {row['group_id']}: --when: {error}.") from error
    if exclusion is not None:
        return [exclusion] * (len(row["completions"]) + (row["reference"] is not None))
    return [ABORTED_SAMPLE if sequence is None else sequence for sequence in _candidates(row, metadata, reads_group)]


def _candidates(row: Row, metadata: dict[str, object], reads_group: bool) -> list[Candidate | None]:
    """A group's samples, None where one was aborted, and its reference if it has one."""
    messages = plain_messages(row["messages"])
    texts = [
        None if reason == "abort" else text
        for text, reason in zip(row["completions"], row["finish_reasons"], strict=True)
    ]

    def candidate(text: str | None, number: int) -> Candidate | None:
        if text is None:
            return None
        others = [other for index, other in enumerate(texts) if index != number and other is not None]
        finish_reason = "stop" if number == REFERENCE else row["finish_reasons"][number]
        return Candidate(messages, text, row["reference"], metadata, others if reads_group else (), finish_reason)

    references = [] if row["reference"] is None else [candidate(row["reference"], REFERENCE)]
    return [*(candidate(text, number) for number, text in enumerate(texts)), *references]


def _metadata(row: Row) -> dict[str, object]:
    try:
        return parse_object(row["metadata"])
    except InvalidJson as error:
        raise InputError(f"Group {row['group_id']}: 'metadata' is not a JSON object ({error}).") from error


def _scores_row(row: Row, judgements: list[Judgement], summary: ScoreSummary) -> Row:
    """A row of the scores table."""
    samples = judgements[: len(row["completions"])]
    steps = [judgement.steps for judgement in samples]
    summary.steps_left_out += sum(bool(of) and start is None for of, start in zip(steps, row["starts"], strict=True))
    return {
        "group_id": row["group_id"],
        "rewards": [judgement.reward for judgement in samples],
        "reference_reward": judgements[-1].reward if row["reference"] is not None else None,
        "statuses": [judgement.status for judgement in samples],
        "details": [judgement.detail for judgement in samples],
        "steps": steps_column(steps, row["starts"]),
    }


def _failures(judged: list[tuple[Row, list[Judgement]]]) -> list[str] | None:
    """Why the samples of a part failed, if all of them did; None if one was judged. Samples that were aborted, or that
    the reward is not meant for, do not count."""
    samples = [judgement for row, judgements in judged for judgement in judgements[: len(row["completions"])]]
    samples = [judgement for judgement in samples if judgement is not ABORTED_SAMPLE]
    samples = [judgement for judgement in samples if judgement.status != "not_applicable"]
    if any(judgement.status != "error" for judgement in samples):
        return None
    return [judgement.detail or "no reason given" for judgement in samples]


def _write(writer: TableWriter, parts: list[ScoredPart], summary: ScoreSummary) -> None:
    for index, scores in parts:
        writer.write(index, pa.Table.from_pylist(scores, schema=SCORES.arrow()))
        summary.parts_made += 1
