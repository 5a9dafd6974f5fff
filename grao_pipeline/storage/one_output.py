"""A directory holds one output: a table, a model, an adapter or an evaluation. No other one is written into it."""

from collections.abc import Collection
from typing import Literal

from grao_pipeline.errors import MismatchError
from grao_pipeline.storage.manifest_file import MANIFEST

MARKS = {
    MANIFEST: "table",
    "config.json": "model",
    "adapter_config.json": "adapter",
    "metrics.json": "evaluation",
}
"""File → the output that has it."""
Output = Literal["table", "evaluation", "run"]


def refuse_other_outputs(url: str, names: Collection[str], output: Output) -> None:
    """Refuse a directory that holds something else than what is to be written there.

    Args:
        names: of the directory's files.

    Raises:
        MismatchError: names the file that shows it.
    """
    for name, held in MARKS.items():
        if held != output and name in names:
            raise MismatchError(
                f"{url} holds {_with_article(held)} ({name}). Choose another directory for the {output}."
            )


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'ae' else 'a'} {noun}"
