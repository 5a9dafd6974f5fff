"""`grao evaluate`: groups + scores, optionally with those of the base model → metrics with intervals."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from grao_pipeline import notes
from grao_pipeline.advantages.flat_view import columns_to_read, flat_view
from grao_pipeline.errors import DamagedPart, InputError, MismatchError
from grao_pipeline.evaluation.intervals import bootstrap_mean
from grao_pipeline.evaluation.metrics import mean_reward, nag, ras
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.progress import SILENT, Bar, Progress
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record, write_record
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader
from grao_pipeline.storage.table_pair import TablePair, refuse_other_sample_counts

METRICS = "metrics.json"


@dataclass(frozen=True)
class ScoredPrompt:
    """The scored samples of one prompt.

    Example: `ScoredPrompt([1.0, None], 0.5, [12, 9], 0.5)`
    """

    rewards: list[float | None]
    reference_reward: float | None
    num_tokens: list[int]
    truncated: float
    """The share of samples that ended at the token limit."""


@dataclass(frozen=True)
class EvaluateSummary:
    """The metrics of a model."""

    metrics: dict[str, dict[str, Any] | None]
    """Per metric its value, low, high and n (see `Estimate`); None where it cannot be computed."""
    prompts: int
    unpaired_prompts: int
    """Prompts that only one of the two models has samples of."""
    confidence: float
    fingerprint: str
    notes: list[str] = field(default_factory=list)

    def for_people(self) -> dict[str, object]:
        """The metrics as text, with their intervals."""
        metrics = {
            name: f"{metric['value']:.3f}  ({self.confidence:.0%} interval {metric['low']:.3f} … {metric['high']:.3f}, "
            f"n = {metric['n']})"
            for name, metric in self.metrics.items()
            if metric is not None
        }
        counts = {"prompts": self.prompts, "unpaired_prompts": self.unpaired_prompts}
        return {**metrics, **counts, "fingerprint": self.fingerprint, "notes": self.notes}


def evaluate_provenance(
    options: EvaluateOptions, groups: str, scores: str, base_groups: str | None, base_scores: str | None
) -> Provenance:
    """The identity of an evaluation.

    Args:
        groups, scores, base_groups, base_scores: the fingerprints of the tables.
    """
    inputs = {"groups": groups, "scores": scores, "base_groups": base_groups, "base_scores": base_scores}
    shaping = options.content()
    return Provenance("evaluation", stage_fingerprint("evaluate", shaping, inputs), shaping, inputs)


def read_evaluation(out: str) -> EvaluateSummary | None:
    """The evaluation in `out`; None while there is no evaluation.

    Raises:
        DamagedPart: the evaluation is damaged.
    """
    try:
        value = read_record(Directory(out), METRICS)
        return None if value is None else EvaluateSummary(**value["summary"])
    except (DamagedPart, KeyError, TypeError) as error:
        raise DamagedPart(f"{error} Evaluate again: it replaces the file.") from error


def evaluate(
    groups_url: str,
    scores_url: str,
    out: str,
    options: EvaluateOptions,
    progress: Progress = SILENT,
) -> EvaluateSummary:
    """Compare a model's samples with the references and, where given, with the base model's samples.

    Example:
        options = EvaluateOptions(base_groups="runs/base", base_scores="runs/base-scores")
        evaluate("runs/eval", "runs/eval-scores", "runs/metrics", options).metrics["nag_net"]

    Raises:
        MismatchError: the tables do not belong together, were scored by different rewards or have no prompt in common;
            or `out` holds another evaluation.
    """
    tuned = TablePair.open(groups_url, scores_url, "scores")
    base = None
    if options.base_groups is not None and options.base_scores is not None:
        base = TablePair.open(options.base_groups, options.base_scores, "scores")
        _refuse_other_reward(tuned.companion, base.companion)
    base_fingerprints = base.fingerprints if base else (None, None)
    provenance = evaluate_provenance(options, *tuned.fingerprints, *base_fingerprints)
    earlier = _earlier(out, progress)
    if earlier is not None:
        if earlier.fingerprint != provenance.fingerprint:
            raise MismatchError(
                f"{out} holds the evaluation {earlier.fingerprint}; this command would write {provenance.fingerprint}. "
                "Choose another output directory."
            )
        progress.note(f"{out} already holds this evaluation.")
        return earlier
    directory = Directory(out, progress)
    directory.try_writing()
    num_parts = tuned.groups.num_parts + (base.groups.num_parts if base else 0)
    with progress.track("reading groups and scores", num_parts, "parts") as bar:
        prompts = _scored_prompts(tuned, bar)
        base_prompts = _scored_prompts(base, bar) if base else None
    summary = _summary(prompts, base_prompts, options, provenance.fingerprint)
    write_record(directory, METRICS, {**asdict(provenance), "summary": asdict(summary)}, indent=1)
    return summary


def _earlier(out: str, progress: Progress) -> EvaluateSummary | None:
    try:
        return read_evaluation(out)
    except DamagedPart as error:
        progress.warn(str(error))
        return None


def _summary(
    tuned: dict[str, ScoredPrompt],
    base: dict[str, ScoredPrompt] | None,
    options: EvaluateOptions,
    fingerprint: str,
) -> EvaluateSummary:
    def estimate(values: Iterable[float | None]) -> dict[str, float] | None:
        present = [value for value in values if value is not None]
        mean = bootstrap_mean(present, options.confidence, options.bootstrap_samples, options.seed)
        return asdict(mean) if mean else None

    prompts = list(tuned.values())
    metrics = {
        "ras": estimate(ras(p.rewards, p.reference_reward) for p in prompts),
        "mean_reward": estimate(mean_reward(p.rewards) for p in prompts),
        "reference_reward": estimate(p.reference_reward for p in prompts),
        "tokens_per_sample": estimate(sum(p.num_tokens) / len(p.num_tokens) for p in prompts),
        "truncated_share": estimate(p.truncated for p in prompts),
    }
    unpaired = 0
    if base is not None:
        common = [prompt_id for prompt_id in tuned if prompt_id in base]
        if not common:
            raise MismatchError("The base model's groups and the groups share no prompt. Sample the same prompts.")
        unpaired = len(tuned) + len(base) - 2 * len(common)
        pairs = [nag(tuned[prompt_id].rewards, base[prompt_id].rewards) for prompt_id in common]
        metrics["nag_win_rate"] = estimate(pair[0] if pair else None for pair in pairs)
        metrics["nag_net"] = estimate(pair[1] if pair else None for pair in pairs)
        metrics["nag_ties"] = estimate(pair[2] if pair else None for pair in pairs)
        metrics["base_mean_reward"] = estimate(mean_reward(base[prompt_id].rewards) for prompt_id in common)
        metrics["base_ras"] = estimate(ras(base[i].rewards, base[i].reference_reward) for i in common)
    rewards = [reward for prompt in prompts for reward in prompt.rewards]
    num_unscored = rewards.count(None)
    num_truncated = round(sum(prompt.truncated * len(prompt.rewards) for prompt in prompts))
    ties = metrics.get("nag_ties")
    remarks = [
        *notes.truncation(num_truncated, len(rewards)),
        *notes.unscored(num_unscored, len(rewards)),
        *notes.references(sum(prompt.reference_reward is not None for prompt in prompts), len(prompts), "scored "),
        *notes.all_ties(ties["value"] if ties else None),
    ]
    return EvaluateSummary(metrics, len(tuned), unpaired, options.confidence, fingerprint, remarks)


def _scored_prompts(tables: TablePair, bar: Bar) -> dict[str, ScoredPrompt]:
    """By prompt ID."""
    prompts: dict[str, ScoredPrompt] = {}
    columns = ["prompt_id", *columns_to_read(["num_tokens"])]
    for groups, scores in tables.parts(columns, ["rewards", "reference_reward"]):
        refuse_other_sample_counts(groups, scores, tables.companion.url)
        for prompt_id, reasons, num_tokens, score in zip(
            groups.column("prompt_id").to_pylist(),
            groups.column("finish_reasons").to_pylist(),
            _sampled_tokens(groups),
            scores.to_pylist(),
            strict=True,
        ):
            if prompt_id in prompts:
                raise InputError(
                    f"{tables.groups.url} has two groups of prompt {prompt_id}; an evaluation counts every "
                    "prompt once. Keep one group per prompt."
                )
            prompts[prompt_id] = ScoredPrompt(
                rewards=score["rewards"],
                reference_reward=score["reference_reward"],
                num_tokens=num_tokens,
                truncated=reasons.count("length") / len(reasons),
            )
        bar.advance(1, prompts=len(prompts))
    return prompts


def _sampled_tokens(groups: pa.Table) -> list[list[int]]:
    """Number of tokens that the policy sampled, of every sample of every group."""
    view = flat_view(groups, {}, ["num_tokens", "source"]).filter(pl.col("source") == "sample")
    sizes: list[list[int]] = view.group_by("row", maintain_order=True).agg("num_tokens")["num_tokens"].to_list()
    return sizes


def _refuse_other_reward(scores: TableReader, base: TableReader) -> None:
    if not scores.foreign and not base.foreign and scores.provenance.options != base.provenance.options:
        raise MismatchError(
            f"{scores.url} and {base.url} were scored by different rewards, so that NAG cannot compare them. "
            "Score both with the same reward."
        )
