"""A stage as an installed package would bring it: its options, its verb, its identity and its record, in one file.

It keeps the first samples of every group. `tests/test_pipeline.py` publishes it as an entry point.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from grao_pipeline.fingerprints import group_fingerprint, stage_fingerprint
from grao_pipeline.options import StageOptions, option
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.schemas import GROUPS
from grao_pipeline.stage import Stage
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import TableWriter

PER_SAMPLE = GROUPS.parallel


class FirstSamplesOptions(StageOptions):
    """`grao first-samples`: groups → groups."""

    samples: int = option(2, "Samples to keep of every group.", ge=1)


@dataclass(frozen=True)
class FirstSamplesSummary:
    """What a run did."""

    groups: int
    fingerprint: str


def provenance_of_first_samples(options: FirstSamplesOptions, groups: str) -> Provenance:
    """The identity of the kept groups."""
    content, inputs = options.content(), {"groups": groups}
    return Provenance("groups", stage_fingerprint("first-samples", content, inputs), content, inputs)


def identity(inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]) -> Provenance:
    """What the rounds need to know before it runs."""
    assert isinstance(options, FirstSamplesOptions)
    return provenance_of_first_samples(options, provenance_of(inputs[0]).fingerprint)


def keep_first_samples(
    groups_url: str, out: str, options: FirstSamplesOptions, progress: Progress = SILENT
) -> FirstSamplesSummary:
    """The verb."""
    groups = open_table(groups_url, "groups")
    provenance = provenance_of_first_samples(options, groups.fingerprint)
    writer = TableWriter(out, provenance, groups.num_parts, progress)
    for index in writer.missing():
        rows = groups.part(index).to_pylist()
        for row in rows:
            row |= {name: row[name][: options.samples] for name in PER_SAMPLE if row[name] is not None}
            row["group_id"] = group_fingerprint(row["prompt_id"], row["policy"], row["completion_token_ids"])
        writer.write(index, pa.Table.from_pylist(rows, schema=GROUPS.arrow()))
    writer.finish()
    return FirstSamplesSummary(groups.num_rows, provenance.fingerprint)


STAGE = Stage(
    name="first-samples",
    summary="Keep the first samples of every group.",
    examples=("grao first-samples runs/groups runs/fewer --samples 2",),
    inputs=("groups",),
    output="groups",
    options="tests.toy_stage:FirstSamplesOptions",
    verb="tests.toy_stage:keep_first_samples",
    identity="tests.toy_stage:identity",
    after="generate",
    did=("groups",),
)
CANNOT_BE_IMPORTED = Stage(
    name="cannot-be-imported",
    summary="Fail.",
    inputs=("groups",),
    output="groups",
    options="tests.no_such_module:Options",
    verb="tests.no_such_module:verb",
    identity="",
    loop=None,
    worker="tables",
)
"""Of a package that is not complete: what shares a worker with it works all the same."""
