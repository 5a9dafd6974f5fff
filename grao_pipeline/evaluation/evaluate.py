"""`grao evaluate`: groups + scores, optionally with those of the base model → metrics with intervals."""

from dataclasses import asdict, replace

from grao_pipeline import notes
from grao_pipeline.errors import DamagedPart, InputError, MismatchError
from grao_pipeline.evaluation.breakdown import break_down
from grao_pipeline.evaluation.estimates import estimates_of
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.evaluation.record import METRICS, EvaluateSummary, evaluate_provenance, read_evaluation
from grao_pipeline.evaluation.scored_prompts import ScoredPrompt, ScoredPrompts, read_scored_prompts
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.input_content import INPUT_CONTENT, has_other_rows, input_content
from grao_pipeline.storage.json_record import read_record, write_record
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.one_output import refuse_other_outputs
from grao_pipeline.storage.reader import TableReader
from grao_pipeline.storage.table_pair import TablePair


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
            or `out` holds another evaluation, or another kind of output.
    """
    tuned = TablePair.open(groups_url, scores_url, "scores")
    base = None
    if options.base_groups is not None and options.base_scores is not None:
        base = TablePair.open(options.base_groups, options.base_scores, "scores")
        _refuse_other_reward(tuned.companion, base.companion)
    base_fingerprints = base.fingerprints if base else (None, None)
    provenance = evaluate_provenance(options, *tuned.fingerprints, *base_fingerprints)
    provenance = replace(
        provenance, details=input_content(pair.companion for pair in (tuned, base) if pair is not None)
    )
    earlier = _earlier(out, provenance, progress)
    if earlier is not None:
        if earlier.fingerprint != provenance.fingerprint:
            raise MismatchError(
                f"{out} holds the evaluation {earlier.fingerprint}; this command would write {provenance.fingerprint}. "
                "Choose another output directory."
            )
        progress.note(f"{out} already holds this evaluation.")
        return earlier
    directory = Directory(out, progress)
    refuse_other_outputs(out, directory.names(), "evaluation")
    directory.try_writing()
    num_parts = tuned.groups.num_parts + (base.groups.num_parts if base else 0)
    with progress.track("reading groups and scores", num_parts, "parts") as bar:
        prompts = read_scored_prompts(tuned, bar, options.by)
        base_prompts = read_scored_prompts(base, bar) if base else None
    if not prompts.prompts and prompts.num_not_applicable:
        raise InputError(
            f"{scores_url} has no reward for any of the {prompts.num_not_applicable} prompts: the reward is meant for "
            "none of them. Give scores of a reward that applies to these prompts."
        )
    summary = _summary(prompts, base_prompts, options, provenance.fingerprint)
    write_record(directory, METRICS, {**asdict(provenance), "summary": asdict(summary)}, indent=1)
    return summary


def _earlier(out: str, current: Provenance, progress: Progress) -> EvaluateSummary | None:
    """The evaluation in `out`; None where it is to be regenerated: it is damaged, or its scores were rewritten."""
    try:
        earlier = read_evaluation(out)
        if earlier is not None and earlier.fingerprint == current.fingerprint:
            stored = read_record(Directory(out), METRICS) or {}
            if has_other_rows(stored.get("details", {}), current.details[INPUT_CONTENT]):
                progress.warn(f"{out} was made from scores that were rewritten since. It is evaluated again.")
                return None
        return earlier
    except DamagedPart as error:
        progress.warn(str(error))
        return None


def _summary(
    scored: ScoredPrompts, scored_base: ScoredPrompts | None, options: EvaluateOptions, fingerprint: str
) -> EvaluateSummary:
    tuned, base = scored.prompts, None if scored_base is None else scored_base.prompts
    unpaired = 0
    if base is not None:
        common = tuned.keys() & base.keys()
        if not common:
            raise MismatchError("The base model's groups and the groups share no prompt. Sample the same prompts.")
        unpaired = len(tuned) + len(base) - 2 * len(common)
    metrics = estimates_of(tuned, base, options)
    prompts = list(tuned.values())
    rewards = [reward for prompt in prompts for reward in prompt.rewards]
    num_unscored = sum(prompt.num_unscored for prompt in prompts)
    num_truncated = round(sum(prompt.truncated * len(prompt.rewards) for prompt in prompts))
    ties = metrics.get("nag_ties")
    remarks = [
        *notes.truncation(num_truncated, len(rewards)),
        *notes.unscored(num_unscored, len(rewards)),
        *notes.references(sum(prompt.reference_reward is not None for prompt in prompts), len(prompts), "scored "),
        *notes.all_ties(ties["value"] if ties else None),
        *(note for k in options.pass_at for note in notes.too_few_samples(k, _num_too_few(prompts, k), len(prompts))),
    ]
    by = break_down(tuned, base, options)
    others = scored.num_not_applicable
    return EvaluateSummary(metrics, len(tuned), unpaired, options.confidence, fingerprint, others, remarks, by)


def _num_too_few(prompts: list[ScoredPrompt], k: int) -> int:
    return sum(len(prompt.rewards) - prompt.rewards.count(None) < k for prompt in prompts)


def _refuse_other_reward(scores: TableReader, base: TableReader) -> None:
    if not scores.foreign and not base.foreign and scores.provenance.options != base.provenance.options:
        raise MismatchError(
            f"{scores.url} and {base.url} were scored by different rewards, so that NAG cannot compare them. "
            "Score both with the same reward."
        )
