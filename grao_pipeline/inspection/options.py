"""Options of `grao inspect`."""

from typing import Literal

from grao_pipeline.options import StageOptions, runtime


class InspectOptions(StageOptions):
    """`grao inspect`: describe a table, model or evaluation."""

    examples: int = runtime(2, "Rows to show.", ge=0)
    table: Literal["prompts", "groups", "scores", "advantages", "logprobs"] | None = runtime(
        None, "Kind of a foreign table; by default derived from its columns."
    )
