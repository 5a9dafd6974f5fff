"""A teacher model's answers: a groups table and its scores next to OUT, made by the verbs that make all such tables."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from grao_pipeline.contract import Row
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.generation.generate import generate_groups, groups_provenance
from grao_pipeline.generation.summary import GenerateSummary
from grao_pipeline.generation.text_groups import texts_provenance
from grao_pipeline.models.source import locate_model
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.build import ROWS_PER_PART
from grao_pipeline.references.options import ReferencesOptions
from grao_pipeline.schemas import PROMPTS
from grao_pipeline.scoring.named_reward import make_reward, scores_provenance
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.rows_to_arrow import rows_to_arrow
from grao_pipeline.storage.writer import TableWriter

SUFFIX = ".teacher"
"""OUT.teacher/ holds the prompts that the teacher was asked, its groups and their scores."""


def teacher_fingerprints(options: ReferencesOptions, prompts_fingerprint: str) -> dict[str, str]:
    """The fingerprints of the teacher's groups and of their scores, known before anything is sampled."""
    asked = _asked_provenance(options, prompts_fingerprint).fingerprint
    teacher = options.teacher()
    if teacher.model:
        groups = groups_provenance(teacher, asked, locate_model(teacher.model, teacher.adapter))
    else:
        groups = texts_provenance(teacher, asked)
    judging = options.judging()
    if judging is None:
        return {"groups": groups.fingerprint}
    with closing(make_reward(judging)) as reward:
        scores = scores_provenance(judging, groups.fingerprint, reward)
    return {"groups": groups.fingerprint, "scores": scores.fingerprint}


def ask_teacher(
    rows: Sequence[Row],
    out: str,
    options: ReferencesOptions,
    prompts_fingerprint: str,
    progress: Progress,
) -> tuple[str, str | None, GenerateSummary]:
    """Sample the teacher for these prompts, and score its samples if there is a reward. What an interrupted run did is
    not done again.

    Returns:
        the places of the groups and of the scores, and the summary of the sampling.
    """
    place = f"{out.rstrip('/')}{SUFFIX}"
    provenance = _asked_provenance(options, prompts_fingerprint)
    writer = TableWriter(f"{place}/prompts", provenance, -(-len(rows) // ROWS_PER_PART), progress)
    for index in writer.missing():
        part = list(rows[index * ROWS_PER_PART : (index + 1) * ROWS_PER_PART])
        writer.write(index, rows_to_arrow(part, PROMPTS.arrow()))
    writer.finish()
    summary = generate_groups(f"{place}/prompts", f"{place}/groups", options.teacher(), progress)
    judging = options.judging()
    if judging is None:
        return f"{place}/groups", None, summary
    score_groups(f"{place}/groups", f"{place}/scores", judging, progress)
    return f"{place}/groups", f"{place}/scores", summary


def _asked_provenance(options: ReferencesOptions, prompts_fingerprint: str) -> Provenance:
    """The identity of the prompts that need a reference."""
    content: dict[str, Any] = {"overwrite_references": options.overwrite_references}
    inputs = {"prompts": prompts_fingerprint}
    return Provenance("prompts", stage_fingerprint("references-asked", content, inputs), content, inputs)
