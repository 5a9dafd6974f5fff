"""Options of `grao tournament`."""

from grao_pipeline.options import StageOptions, option


class TournamentOptions(StageOptions):
    """`grao tournament`: methods on the same groups, compared prompt by prompt."""

    baseline: str | None = option(None, "Method that the others are compared with; the first one by default.")
    confidence: float | None = option(
        None, "Coverage of the intervals of the differences; that of evaluate in the file by default.", gt=0.0, lt=1.0
    )
