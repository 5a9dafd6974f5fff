"""Options of `grao report`."""

from grao_pipeline.options import StageOptions, runtime


class ReportOptions(StageOptions):
    """`grao report`: a run → one page."""

    groups: int = runtime(
        5000, "Groups in the sample browser, spread over all rounds: the same prompts of each.", ge=0, le=100_000
    )
    max_characters: int = runtime(
        20_000, "Characters of a text in the sample browser; the rest is left out and counted.", ge=100
    )
    title: str | None = runtime(None, "Title of the page; default: the name of the run.")
