"""`grao score`: groups → scores. Every sample is judged, and the reference like a sample."""

import inspect
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa

from grao_pipeline.errors import InputError, StageFailure
from grao_pipeline.fingerprints import fingerprint, stage_fingerprint
from grao_pipeline.parsing import key_values
from grao_pipeline.plugins import load, source_of
from grao_pipeline.progress import SILENT, Bar, Progress
from grao_pipeline.schemas import SCORES
from grao_pipeline.scoring.cache import JudgementCache, cache_path
from grao_pipeline.scoring.cached_reward import CachedReward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards import REWARDS
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime
from grao_pipeline.scoring.rewards.function import FunctionReward
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import PartShare, TableWriter

MAX_FAILURES = 256
"""So many samples in a row are judged in vain before a reward is taken to be misconfigured."""
COLUMNS = ["group_id", "messages", "reference", "metadata", "completions", "finish_reasons"]
REFERENCE = -1
ABORTED = Judgement(None, "error", "the sample was aborted")


@dataclass
class ScoreSummary:
    """What a run did. Counts and the mean are of this run, not of parts that earlier runs made."""

    groups: int = 0
    parts_made: int = 0
    parts_found: int = 0
    samples: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    references_scored: int = 0
    references_failed: int = 0
    mean_reward: float | None = None
    cache_hits: int = 0
    """Sequences, references included, whose judgement was known: from the cache, or of an equal one beside them."""
    cache_misses: int = 0
    tokens_spent: int = 0
    """That a judge read and wrote."""
    tokens_saved: int = 0
    """That it would have, without the hits."""
    parts_left_to_other_workers: int = 0
    fingerprint: str = ""
    name: str = ""


def make_reward(options: ScoreOptions) -> Reward:
    """The reward that the options name: built in, from an entry point, or `module:attribute` (a class or a function).

    Raises:
        UsageError: there is none of that name, or it refuses its arguments.
    """
    arguments = key_values(options.reward_arg, "reward_arg")
    found: Any = load("reward", options.reward, REWARDS)
    if not inspect.isclass(found):
        return FunctionReward(found, arguments)
    reward: Reward = cast(Any, found)(arguments, RewardRuntime(options.batch_size, options.device))
    return reward


def scores_provenance(options: ScoreOptions, groups_fingerprint: str, reward: Reward) -> Provenance:
    """The identity of a scores table, known before anything is scored."""
    shaping = {"reward": options.reward, "name": reward_name(options), **reward.identity()}
    shaping |= source_of("reward", type(reward))
    inputs = {"groups": groups_fingerprint}
    return Provenance("scores", stage_fingerprint("score", shaping, inputs), shaping, inputs)


def reward_fingerprint(options: ScoreOptions, reward: Reward) -> str:
    """The identity of a reward in the cache of judgements; its name in later tables plays no part."""
    return fingerprint({"reward": options.reward, **reward.identity(), **source_of("reward", type(reward))})


def reward_name(options: ScoreOptions) -> str:
    """The reward's name in later tables, e.g. `gsm8k`, or `helpful` for `judges.py:helpful`."""
    return options.name or options.reward.rpartition(":")[2]


def score_groups(
    groups_url: str,
    out: str,
    options: ScoreOptions,
    progress: Progress = SILENT,
    reward: Reward | None = None,
) -> ScoreSummary:
    """Judge every sequence of a groups table and write the scores table, part by part.

    Raises:
        InputError: the groups are not usable.
        MismatchError: `out` holds other work.
        StageFailure: nothing at all could be judged, or the reward broke its contract.
    """
    groups = open_table(groups_url, "groups")
    reward = reward or make_reward(options)
    provenance = scores_provenance(options, groups.fingerprint, reward)
    writer = TableWriter(out, provenance, groups.num_parts, progress, PartShare.parse(options.worker))
    writer.discard_changed_parts(groups)
    summary = ScoreSummary(
        groups=groups.num_rows,
        parts_found=writer.num_committed,
        fingerprint=provenance.fingerprint,
        name=reward_name(options),
    )
    cache = JudgementCache(cache_path(options.cache)) if options.use_cache and writer.missing() else None
    judge = CachedReward(reward, reward_fingerprint(options, reward), reward_name(options), cache)
    statuses: Counter[str] = Counter()
    total = 0.0
    held: list[tuple[int, list[dict[str, Any]]]] = []  # parts in which nothing was judged, until something is
    failures: list[str] = []
    committed = writer.num_committed_rows
    missing = sum(groups.manifest.parts[index].rows for index in writer.missing())
    with progress.track("scoring", committed + missing, "groups", committed) as bar:
        for index in writer.missing():
            judged = _judge(groups.part(index, COLUMNS).to_pylist(), judge, bar)
            scored = [_score_group(row, judgements) for row, judgements in judged]
            for row in scored:
                statuses.update(row["statuses"])
                total += sum(value for value in row["rewards"] if value is not None)
                if row.pop("has_reference"):
                    summary.references_scored += row["reference_reward"] is not None
                    summary.references_failed += row["reference_reward"] is None
            held.append((index, scored))
            errors = _errors(judged)
            failures += errors or []
            if errors is not None and not writer.num_committed:
                if len(failures) < MAX_FAILURES:
                    continue
                break
            _write(writer, held, summary)
            bar.log(
                f"part {index} committed · {statuses.total():,} samples scored · "
                f"{judge.misses:,} judgements made, {judge.hits:,} known already"
            )
    if held and failures:
        raise StageFailure(
            f"Reward '{options.reward}' failed on all {len(failures)} samples so far, e.g.: {failures[0]}. "
            "Nothing was written."
        )
    _write(writer, held, summary)
    summary.parts_left_to_other_workers = len(writer.finish())
    summary.cache_hits, summary.cache_misses = judge.hits, judge.misses
    summary.tokens_spent, summary.tokens_saved = judge.tokens_spent, judge.tokens_saved
    summary.samples = statuses.total()
    summary.statuses = dict(sorted(statuses.items()))
    summary.mean_reward = total / statuses["ok"] if statuses["ok"] else None
    return summary


def _judge(rows: list[dict[str, Any]], judge: CachedReward, bar: Bar) -> list[tuple[dict[str, Any], list[Judgement]]]:
    """Judge a part's sequences in one call; what was aborted is not shown to the reward.

    Returns:
        each row with its judgements: of its samples, then of its reference if it has one.
    """
    sequences = [_candidates(row, judge.reads_group) for row in rows]
    candidates = [candidate for group in sequences for candidate in group if candidate is not None]
    groups_per_candidate = len(rows) / max(1, len(candidates))

    def on_judged(num: int) -> None:
        counts = {"judgements": judge.hits + judge.misses, "cache_hits": judge.hits, "cache_misses": judge.misses}
        bar.advance(num * groups_per_candidate, **counts)

    judgements = iter(judge.score(candidates, on_judged))
    return [
        (row, [ABORTED if candidate is None else next(judgements) for candidate in group])
        for row, group in zip(rows, sequences, strict=True)
    ]


def _candidates(row: dict[str, Any], reads_group: bool) -> list[Candidate | None]:
    """A group's samples, None where one was aborted, and its reference if it has one."""
    metadata = _metadata(row)
    texts = [
        None if reason == "abort" else text
        for text, reason in zip(row["completions"], row["finish_reasons"], strict=True)
    ]

    def candidate(text: str | None, number: int) -> Candidate | None:
        if text is None:
            return None
        others = [other for index, other in enumerate(texts) if index != number and other is not None]
        return Candidate(row["messages"], text, row["reference"], metadata, others if reads_group else ())

    references = [] if row["reference"] is None else [candidate(row["reference"], REFERENCE)]
    return [*(candidate(text, number) for number, text in enumerate(texts)), *references]


def _score_group(row: dict[str, Any], judgements: list[Judgement]) -> dict[str, Any]:
    samples = judgements[: len(row["completions"])]
    has_reference = row["reference"] is not None
    return {
        "group_id": row["group_id"],
        "rewards": [judgement.reward for judgement in samples],
        "reference_reward": judgements[-1].reward if has_reference else None,
        "statuses": [judgement.status for judgement in samples],
        "details": [judgement.detail for judgement in samples],
        "has_reference": has_reference,
    }


def _metadata(row: dict[str, Any]) -> dict[str, Any]:
    try:
        value = json.loads(row["metadata"])
    except ValueError as error:
        raise InputError(f"group {row['group_id']}: 'metadata' is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"group {row['group_id']}: 'metadata' is {value!r}, not a JSON object.")
    return value


def _write(writer: TableWriter, held: list[tuple[int, list[dict[str, Any]]]], summary: ScoreSummary) -> None:
    """Commit the parts that were held back."""
    for index, scored in held:
        writer.write(index, pa.Table.from_pylist(scored, schema=SCORES.arrow()))
        summary.parts_made += 1
    held.clear()


def _errors(judged: list[tuple[dict[str, Any], list[Judgement]]]) -> list[str] | None:
    """What went wrong with a part's samples, if all of them failed; None where one was judged.

    A reward that judges nothing is misconfigured; a table of nulls would only hide it.
    """
    samples = [j for row, judgements in judged for j in judgements[: len(row["completions"])] if j is not ABORTED]
    if any(judgement.status != "error" for judgement in samples):
        return None
    return [judgement.detail or "no reason given" for judgement in samples]
