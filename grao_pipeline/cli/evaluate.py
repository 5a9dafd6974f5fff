"""`grao evaluate`."""

from dataclasses import asdict
from typing import Any

import click

from grao_pipeline.cli.command import ConsoleProgress, print_summary, run_stage, stage_options
from grao_pipeline.evaluation.options import EvaluateOptions


@click.command()
@click.argument("groups")
@click.argument("scores")
@click.argument("out")
@stage_options(EvaluateOptions)
def evaluate(groups: str, scores: str, out: str, as_json: bool, **values: Any) -> None:
    """Compare a model's samples with the references and with its base.

    GROUPS and SCORES are the model's samples on evaluation prompts and their rewards; OUT/metrics.json receives RAS
    and mean reward and, with --base-groups and --base-scores, NAG (nag_win_rate and nag_net).

    \b
    Example:
      grao evaluate runs/eval/groups runs/eval/scores runs/eval/metrics \\
        --base-groups runs/base/groups --base-scores runs/base/scores
    """

    def call(options: EvaluateOptions) -> Any:
        from grao_pipeline.evaluation.evaluate import evaluate as evaluate_groups

        return evaluate_groups(groups, scores, out, options, ConsoleProgress())

    summary = asdict(run_stage(EvaluateOptions, values, call))
    if not as_json:
        percent = f"{summary.pop('confidence'):.0%}"
        for name, metric in summary.pop("metrics").items():
            if metric is not None:
                interval = f"{metric['low']:.3f} … {metric['high']:.3f}"
                summary[name] = f"{metric['value']:.3f}  ({percent} interval {interval}, n = {metric['n']})"
    print_summary(summary, as_json, f"Evaluation: {groups} → {out}")


if __name__ == "__main__":
    evaluate()
