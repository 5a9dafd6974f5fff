"""What a report says of a run besides its samples: metrics, trainings, costs and where everything came from.

Each record has a `source`, the name of the output that it was read from.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grao_pipeline.errors import DamagedPart, MismatchError
from grao_pipeline.evaluation.record import read_evaluation
from grao_pipeline.models.manifest import METRICS
from grao_pipeline.pipeline import stages
from grao_pipeline.report.outputs import Output
from grao_pipeline.rounds.receipts import Receipt, read_receipt
from grao_pipeline.rounds.tournament import RESULT
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record

Json = dict[str, Any]
MOST_STEPS = 1000
"""Lines of one training that a chart gets; of more, every second, third, … is taken."""


def evaluations(outputs: Sequence[Output]) -> list[Json]:
    """Per evaluated model its metrics with intervals."""
    rows = []
    for output in outputs:
        summary = read_evaluation(output.place) if output.kind == "evaluation" else None
        if summary is not None:
            rows.append(
                {
                    **_where(output),
                    "metrics": {name: metric for name, metric in summary.metrics.items() if metric is not None},
                    "prompts": summary.prompts,
                    "confidence": summary.confidence,
                    "notes": summary.notes,
                }
            )
    return rows


def tournament(root: Path) -> Json | None:
    """What `grao tournament` found of a run; None where there was none.

    Raises:
        DamagedPart: its file is damaged.
        MismatchError: another program wrote it.
    """
    record = read_record(Directory(root), RESULT)
    return None if record is None else {**record, "source": RESULT}


def trainings(outputs: Sequence[Output]) -> list[Json]:
    """Per training the numbers of its steps, and how far off-policy its groups were."""
    rows = []
    for output in outputs:
        if output.kind != "model":
            continue
        steps, damaged = read_steps(Path(output.place) / METRICS)
        every = max(1, math.ceil(len(steps) / MOST_STEPS))
        summary = output.model.summary if output.model else {}
        rows.append(
            {
                **_where(output),
                "steps": [_numbers(step) for step in steps[::every]],
                "num_steps": len(steps),
                "every": every,
                "damaged_lines": damaged,
                "is_complete": output.is_complete,
                "origins": summary.get("origins", []),
                "options": output.provenance.options if output.provenance else {},
                "notes": summary.get("notes", []),
            }
        )
    return rows


def read_steps(path: Path) -> tuple[list[Json], int]:
    """The lines of a log of steps, and the number of lines that are not a JSON object; the last may be in writing."""
    steps, damaged = [], 0
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            step = json.loads(line)
        except (ValueError, RecursionError):
            damaged += 1
            continue
        if isinstance(step, dict) and isinstance(step.get("step"), int):
            steps.append(step)
        else:
            damaged += 1
    return steps, damaged


def costs(outputs: Sequence[Output]) -> tuple[list[Json], list[str]]:
    """What every output of the rounds took, as its receipt says; and what is wrong with receipts."""
    rows: list[Json] = []
    problems: list[str] = []
    by_output = {stage.output: stage for stage in stages()}
    named = {stage.name: stage for stage in stages()}
    for output in outputs:
        receipt: Receipt | None = None
        try:
            receipt = read_receipt(Path(output.place))
        except (DamagedPart, MismatchError) as error:
            problems.append(str(error))
        if receipt is None:
            continue
        folder = Path(output.place).parent.name  # of the store: the name of the stage
        stage = named.get(folder) or by_output.get(output.kind)
        amounts = {name: receipt.summary.get(key) for name, key in stage.costs.items()} if stage else {}
        rows.append(
            {
                **_where(output),
                "stage": stage.name if stage else output.kind,
                "is_evaluation": output.task.startswith("evaluate"),
                "seconds": receipt.seconds,
                **{name: value for name, value in amounts.items() if isinstance(value, int)},
                "notes": receipt.summary.get("notes", []),
            }
        )
    return rows, problems


def origins(outputs: Sequence[Output]) -> list[Json]:
    """Per output what it was made from: fingerprints, the outputs that they name, options and versions."""
    names = {output.fingerprint: output.name for output in reversed(outputs) if output.provenance}
    names |= {output.model.model: output.name for output in reversed(outputs) if output.model}
    rows = []
    for output in outputs:
        provenance = output.provenance
        if provenance is None:
            continue
        rows.append(
            {
                **_where(output),
                "kind": output.kind,
                "fingerprint": provenance.fingerprint,
                "inputs": _inputs(provenance.inputs, names),
                "options": _changed(output.kind, provenance.options),
                "versions": provenance.versions,
            }
        )
    return rows


def _where(output: Output) -> Json:
    return {"source": output.name, "variant": output.variant, "round": output.round}


def _numbers(step: Mapping[str, object]) -> Json:
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in step.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _inputs(inputs: Mapping[str, object], names: Mapping[str, str]) -> list[Json]:
    """Fingerprints in an input, however deep, each with the name of the output that it is."""
    rows = []
    for role, value in inputs.items():
        for text in _texts(value):
            if len(text) == 32 and set(text) <= set("0123456789abcdef"):
                rows.append({"role": role, "fingerprint": text, "name": names.get(text)})
    return rows


def _texts(value: object) -> list[str]:
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _changed(kind: str, options: Mapping[str, object]) -> Json:
    """The options that are not the defaults of the stage that writes this kind."""
    defaults: Json = {}
    stage = next((stage for stage in stages() if stage.output == kind and stage.loop is not None), None)
    if stage is not None:
        fields = stage.options_model.model_fields
        defaults = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    return {
        name: value
        for name, value in options.items()
        if value not in (None, [], {}, "") and (name not in defaults or defaults[name] != value)
    }
