"""The verb `minibatch`: the next prompts of a walk through all of them, pass after pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import stage_fingerprint
from grao_pipeline.options import StageOptions
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.prompts.build import ROWS_PER_PART
from grao_pipeline.prompts.options import MinibatchOptions
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.rows_to_arrow import array_of
from grao_pipeline.storage.writer import TableWriter


@dataclass(frozen=True)
class MinibatchSummary:
    """Which prompts were taken.

    Attributes:
        passes: through all prompts, up to now, e.g. 1.5.
    """

    prompts: int
    taken: int
    passes: float
    fingerprint: str = ""
    notes: list[str] = field(default_factory=list)


def minibatch_provenance(options: MinibatchOptions, prompts_fingerprint: str) -> Provenance:
    """The identity of the taken prompts."""
    inputs, content = {"prompts": prompts_fingerprint}, options.content()
    return Provenance("prompts", stage_fingerprint("minibatch", content, inputs), content, inputs)


def minibatch_identity(
    inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]
) -> Provenance:
    """What the rounds need to know before it runs."""
    assert isinstance(options, MinibatchOptions)
    return minibatch_provenance(options, provenance_of(inputs[0]).fingerprint)


def take_prompts(
    prompts_url: str, out: str, options: MinibatchOptions, progress: Progress = SILENT
) -> MinibatchSummary:
    """Write the prompts of one round to the table OUT.

    Example:
        take_prompts("data/train", "runs/third", MinibatchOptions(prompts_per_round=64, round=2))

    Raises:
        InputError: the table is not usable, or holds fewer prompts than a round takes.
        MismatchError: `out` holds another table.
    """
    prompts = open_table(prompts_url, "prompts")
    provenance = minibatch_provenance(options, prompts.fingerprint)
    rows = prompts.arrow()
    number = options.prompts_per_round
    if number > rows.num_rows:
        raise InputError(
            f"{prompts_url} holds {rows.num_rows} prompts, fewer than a round takes ({number}). Lower "
            "--prompts-per-round, or add prompts."
        )
    order = walk_order(rows.num_rows, number, options.round, options.seed)
    chosen = rows.take(array_of(order, pa.int64()))
    writer = TableWriter(out, provenance, -(-number // ROWS_PER_PART), progress)
    for index in writer.missing():
        writer.write(index, chosen.slice(index * ROWS_PER_PART, ROWS_PER_PART))
    writer.finish()
    passes = (options.round + 1) / (rows.num_rows // number)
    return MinibatchSummary(rows.num_rows, number, passes, provenance.fingerprint)


def walk_order(num_prompts: int, per_round: int, number: int, seed: int) -> list[int]:
    """Indices of the prompts of round `number`: its slice of a pass, each pass in its own random order.

    A pass has num_prompts // per_round rounds. The prompts that fill no round are left out of it, others in each pass.
    """
    of_pass, place = divmod(number, num_prompts // per_round)
    order: list[int] = np.random.default_rng([seed, of_pass]).permutation(num_prompts).tolist()
    return order[place * per_round : (place + 1) * per_round]
