"""The card of a trained model, from the chain of what it was made from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from grao_pipeline.evaluation.record import read_evaluation
from grao_pipeline.hub.card_text import front_matter, settings, table
from grao_pipeline.lineage.catalog import Catalog, Output
from grao_pipeline.lineage.chain import Link, chain_of
from grao_pipeline.models.manifest import read_trained_manifest
from grao_pipeline.models.source import NAME

METRIC_NAMES = {
    "mean_reward": "mean reward",
    "ras": "RAS",
    "nag_win_rate": "NAG win rate",
    "nag_net": "NAG net",
    "base_mean_reward": "mean reward of the base model",
}
COSTS = {
    "steps": "optimizer steps",
    "groups_trained": "groups trained on",
    "tokens": "tokens trained on",
    "seconds": "seconds of training",
    "ranks": "processes",
}
SHOWN = {
    "generate": ("samples", "temperature", "top_p", "top_k", "max_new_tokens", "engine", "seed"),
    "train": (
        *("objective", "objective_arg", "beta", "lambda_", "learning_rate", "groups_per_step", "epochs", "schedule"),
        *("warmup_steps", "weight_decay", "correction", "lora_rank", "seed"),
    ),
}


def model_card(model: Output, catalog: Catalog, repository: str, license_name: str | None) -> str:
    """The text of README.md."""
    links = chain_of(model, catalog)
    manifest = read_trained_manifest(model.place)
    assert model.provenance is not None
    assert manifest is not None
    base = _base(model, links)
    is_adapter = (model.place / "adapter_config.json").is_file()
    evaluations = list(_evaluations(model, catalog))
    head = {
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "license": license_name or _license_of(base),
        "base_model": base[0] if "/" in base[0] else None,
        "tags": ["grao", "alignment", "grao-pipeline"],
        "model-index": _model_index(repository, evaluations),
    }
    made_from = f"`{base[0]}`" if base[0] else "a model that is not at hand"
    return "\n".join(
        [
            front_matter(head),
            f"# {repository.rpartition('/')[2]}\n",
            f"Trained from {made_from} with [GRAO](https://arxiv.org/abs/2508.07750) by grao-pipeline. This card is "
            "made from the fingerprints of the training; `grao verify` computes them again.\n",
            "## Metrics\n",
            _metrics(evaluations),
            "## How it was made\n",
            table(["step", "settings", "fingerprint"], _steps(model, links)),
            "## Costs\n",
            table(["what", "amount"], _costs(manifest.summary)),
        ]
    )


def _steps(model: Output, links: list[Link]) -> Iterator[tuple[str, str, str]]:
    """From the first input to the model."""
    for link in links:
        if link.output is None or link.output.provenance is None:
            name = link.reader.provenance.details.get(NAME, "") if link.reader.provenance else ""
            named = f"{link.named.role} {name}" if link.named.role == "model" and name else link.named.role
            yield named, "" if link.output is not None else "not at hand", link.named.fingerprint
        else:
            yield _step(link.output)
    yield _step(model)


def _step(output: Output) -> tuple[str, str, str]:
    provenance = output.provenance
    assert provenance is not None
    options, kind = provenance.options, output.kind
    if kind == "scores":
        others = {name: value for name, value in options.items() if name not in ("reward", "name")}
        return f"reward {options.get('reward', '')}", settings(others), provenance.fingerprint
    if kind == "advantages":
        weights = [f"{score[0]} × {score[2]:g}" for score in provenance.inputs.get("scores", []) if len(score) == 3]
        return "advantages", settings({**options, "rewards": ", ".join(weights)}), provenance.fingerprint
    shown = SHOWN.get({"groups": "generate", "model": "train"}.get(kind, ""), tuple(options))
    return kind, settings({name: options[name] for name in shown if name in options}), provenance.fingerprint


def _base(model: Output, links: list[Link]) -> tuple[str, Path | None]:
    """Name and directory of the first model of the chain."""
    name, place = "", None
    for link in links:
        if link.named.role == "model" and (link.output is None or link.output.provenance is None):
            name = link.reader.provenance.details.get(NAME, "") if link.reader.provenance else ""
            place = link.output.place if link.output is not None else None
    return name, place


def _license_of(base: tuple[str, Path | None]) -> str | None:
    """The license that the card of the base model names."""
    card = base[1] / "README.md" if base[1] is not None else None
    if card is None or not card.is_file():
        return None
    parts = card.read_text("utf-8", "replace").split("---")
    try:
        head = yaml.safe_load(parts[1]) if len(parts) > 2 and not parts[0].strip() else None
    except yaml.YAMLError:
        return None
    value = head.get("license") if isinstance(head, dict) else None
    return value if isinstance(value, str) else None


def _evaluations(model: Output, catalog: Catalog) -> Iterator[tuple[Output, Mapping[str, Any]]]:
    """The evaluations of groups that this model sampled, with their metrics; those without any are left out."""
    for output in catalog.outputs():
        if output.kind != "evaluation" or output.provenance is None:
            continue
        groups = catalog.find(str(output.provenance.inputs.get("groups")))
        sampled_by = groups.provenance.inputs.get("model") if groups and groups.provenance else None
        summary = read_evaluation(str(output.place)) if sampled_by == model.weights else None
        metrics = (
            {} if summary is None else {name: value for name, value in summary.metrics.items() if value is not None}
        )
        if any(name in metrics for name in METRIC_NAMES):
            yield output, metrics


def _metrics(evaluations: list[tuple[Output, Mapping[str, Any]]]) -> str:
    if not evaluations:
        return "No evaluation of this model was found next to it.\n"
    rows = [
        (name, f"{metric['value']:.3f}", f"{metric['low']:.3f} … {metric['high']:.3f}", metric["n"], output.fingerprint)
        for output, metrics in evaluations
        for key, name in METRIC_NAMES.items()
        if (metric := metrics.get(key)) is not None
    ]
    return table(["metric", "value", "bootstrap interval", "prompts", "evaluation"], rows)


def _model_index(repository: str, evaluations: list[tuple[Output, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": "held-out prompts", "type": output.fingerprint},
            "metrics": [
                {"type": key, "name": name, "value": metrics[key]["value"]}
                for key, name in METRIC_NAMES.items()
                if key in metrics
            ],
        }
        for output, metrics in evaluations
    ]
    return [{"name": repository.rpartition("/")[2], "results": results}] if results else []


def _costs(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, f"{summary[key]:,.6g}") for key, name in COSTS.items() if summary.get(key) is not None]
