"""The metrics of a set of prompts, each a mean over the prompts with its bootstrap interval."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

from grao_pipeline.evaluation.intervals import bootstrap_mean
from grao_pipeline.evaluation.metrics import mean_reward, nag, pass_at, ras, success_rate
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.evaluation.scored_prompts import ScoredPrompt

Metrics: TypeAlias = dict[str, dict[str, Any] | None]
"""By name: value, low, high and n (see `Estimate`); None where a metric cannot be computed."""


def estimates_of(
    tuned: Mapping[str, ScoredPrompt], base: Mapping[str, ScoredPrompt] | None, options: EvaluateOptions
) -> Metrics:
    """The metrics of a model's prompts and, on those that it shares with the base model, of both models.

    Args:
        tuned, base: by prompt ID; no base model, no NAG.
    """

    def estimate(values: Iterable[float | None]) -> dict[str, Any] | None:
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
    if options.pass_at:
        metrics["success_rate"] = estimate(success_rate(p.rewards, options.success) for p in prompts)
    for k in sorted(set(options.pass_at)):
        metrics[f"pass@{k}"] = estimate(pass_at(k, p.rewards, options.success) for p in prompts)
    if base is not None:
        common = [prompt_id for prompt_id in tuned if prompt_id in base]
        pairs = [nag(tuned[prompt_id].rewards, base[prompt_id].rewards) for prompt_id in common]
        for place, name in enumerate(("nag_win_rate", "nag_net", "nag_ties")):
            metrics[name] = estimate(pair[place] if pair else None for pair in pairs)
        metrics["base_mean_reward"] = estimate(mean_reward(base[prompt_id].rewards) for prompt_id in common)
        metrics["base_ras"] = estimate(ras(base[i].rewards, base[i].reference_reward) for i in common)
    return metrics
