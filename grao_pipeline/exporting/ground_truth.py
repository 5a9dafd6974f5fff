"""What a verifier of another trainer needs of a prompt: the expected answer, and the name of its data source."""

import json

from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.exporting.sequences import Group

DEFAULT_SOURCE = "grao"


def ground_truth(group: Group, options: ExportOptions) -> str | None:
    """The answer in the metadata as text, lists and objects as JSON; None where the metadata has no such field."""
    value = group.metadata.get(options.answer_field)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def data_source(group: Group, options: ExportOptions) -> str:
    """The name by which the other trainer chooses a reward."""
    return options.data_source or str(group.metadata.get("data_source", DEFAULT_SOURCE))
