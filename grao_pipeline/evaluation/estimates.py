"""The metrics of a set of prompts, each a mean over the prompts with its bootstrap interval."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from grao_pipeline.evaluation.intervals import bootstrap_means
from grao_pipeline.evaluation.metrics import mean_reward, nag, pass_at, ras, success_rate
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.evaluation.record import Metrics
from grao_pipeline.evaluation.scored_prompts import ScoredPrompt


def estimates_of(
    tuned: Mapping[str, ScoredPrompt], base: Mapping[str, ScoredPrompt] | None, options: EvaluateOptions
) -> Metrics:
    """The metrics of a model's prompts and, on those that it shares with the base model, of both models.

    Args:
        tuned, base: by prompt ID; no base model, no NAG.
    """

    prompts = list(tuned.values())
    values: dict[str, Iterable[float | None]] = {
        "ras": (ras(p.scored, p.reference_reward) for p in prompts),
        "mean_reward": (mean_reward(p.scored) for p in prompts),
        "reference_reward": (p.reference_reward for p in prompts),
        "tokens_per_sample": (sum(p.num_tokens) / len(p.num_tokens) for p in prompts),
        "truncated_share": (p.truncated for p in prompts),
    }
    if options.pass_at:
        values["success_rate"] = (success_rate(p.scored, options.success) for p in prompts)
    for k in sorted(set(options.pass_at)):
        values[f"pass@{k}"] = [pass_at(k, p.scored, options.success) for p in prompts]
    if base is not None:
        common = [(prompt, base[prompt_id]) for prompt_id, prompt in tuned.items() if prompt_id in base]
        pairs = [nag(prompt.scored, of_base.scored) for prompt, of_base in common]
        for place, name in enumerate(("nag_win_rate", "nag_net", "nag_ties")):
            values[name] = [pair[place] if pair else None for pair in pairs]
        values["base_mean_reward"] = (mean_reward(of_base.scored) for _, of_base in common)
        values["base_ras"] = (ras(of_base.scored, of_base.reference_reward) for _, of_base in common)
    present = [[value for value in of_metric if value is not None] for of_metric in values.values()]
    estimates = bootstrap_means(present, options.confidence, options.bootstrap_samples, options.seed)
    return {name: asdict(mean) if mean else None for name, mean in zip(values, estimates, strict=True)}
