"""What the rounds need to know of `grao prompts` and `grao curriculum` before they run."""

from collections.abc import Callable, Sequence

from grao_pipeline.checksums import file_checksum
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.options import StageOptions
from grao_pipeline.plugins import named_source
from grao_pipeline.prompts.curriculum import curriculum_provenance
from grao_pipeline.prompts.detect import format_named
from grao_pipeline.prompts.formats import FORMATS
from grao_pipeline.prompts.history_functions import load_budget, load_priority
from grao_pipeline.prompts.options import CurriculumOptions, PromptsOptions
from grao_pipeline.prompts.rewriting import load_rewrite, rewrite_source
from grao_pipeline.prompts.sources import local_path
from grao_pipeline.redaction import without_credentials
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.places import Place
from grao_pipeline.storage.verification import is_intact

SIDES = ("train", "eval")


def check(options: StageOptions) -> None:
    """Refuse a format or rewrite that does not exist.

    Raises:
        UsageError: there is no such format or rewrite, or an argument of it is wrong.
    """
    assert isinstance(options, PromptsOptions)
    if options.format != "auto":
        format_named(options.format)
    load_rewrite(options)


def check_curriculum(options: StageOptions) -> None:
    """Raises UsageError if the priority or the budget is unknown, or an argument of them is wrong."""
    assert isinstance(options, CurriculumOptions)
    load_priority(options)
    load_budget(options)


def prompts_identity(
    inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]
) -> Provenance:
    """The place of the prompts in a store: by the bytes of a local file, or the name of another source. The table's own
    fingerprint is that of its rows, which are not read yet.

    Raises:
        InputError: a local source does not exist.
    """
    assert isinstance(options, PromptsOptions)
    source = local_path(inputs[0])
    content = file_checksum(source) if source is not None and source.is_file() else without_credentials(inputs[0])
    name = str(options.content()["format"])
    own_source = rewrite_source(options) | ({} if name == "auto" else named_source("format", name, FORMATS))
    key = fingerprint(["prompts", content, {**options.content(), **own_source}])
    return Provenance("prompts", key, options.content(), {"source": content}, versions={})


def prompts_are_complete(out: Place) -> bool:
    """Whether a directory holds an undamaged prompts table, or one for each side of the hold-out."""
    return is_intact(out) or all(is_intact(out / side) for side in SIDES)


def curriculum_identity(
    inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]
) -> Provenance:
    """The identity of the prompts that a curriculum chooses."""
    assert isinstance(options, CurriculumOptions)
    history = [
        (provenance_of(groups).fingerprint, provenance_of(scores).fingerprint) for groups, scores in options.history
    ]
    return curriculum_provenance(options, provenance_of(inputs[0]).fingerprint, history)
