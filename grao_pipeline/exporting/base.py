"""The seam of exports: a pure function from a group to the rows of another trainer's file."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.exporting.sequences import Group


@dataclass(frozen=True)
class ExportFormat:
    """A format: what its rows look like, and its function.

    Example:
        FORMAT = ExportFormat(
            "texts", "text: the best sample", lambda turns: [("text", pa.string())],
            lambda group, options, left_out: [{"text": group.rated[0].text}],
        )

    Attributes:
        shape: one line by which a person recognizes the format.
        fields: name and type of its columns, from the type of a conversation.
        rows: `rows(group, options, left_out)`: the rows of a group; it counts by reason what it leaves out.
        needs_samples: a table of prompts is not enough.
        needs_rewards: whether these options need scores or advantages.
    """

    name: str
    shape: str
    fields: Callable[[pa.DataType], list[tuple[str, pa.DataType]]]
    rows: Callable[[Group, ExportOptions, Counter[str]], Iterable[Row]]
    needs_samples: bool = True
    needs_rewards: Callable[[ExportOptions], bool] = lambda options: True

    @property
    def summary(self) -> str:
        """The shape as a sentence."""
        return f"{self.shape.rstrip('.')}."
