"""Options of `grao view`."""

from grao_pipeline.options import StageOptions, runtime, tables


class ViewOptions(StageOptions):
    """`grao view`: groups in a browser."""

    groups: str | None = tables(
        None, "Groups of the scores or advantages at PATH, where they do not lie next to each other.", metavar="TABLE"
    )
    scores: list[str] = tables(
        [], "Scores of the groups at PATH, where they lie elsewhere. Repeatable.", metavar="TABLE"
    )
    advantages: str | None = tables(None, "Advantages of the groups at PATH, the same.", metavar="TABLE")
    host: str = runtime("127.0.0.1", "Address to listen at: by default this machine alone.")
    port: int = runtime(0, "Port to listen at; 0: any free one.", ge=0, le=65535)
    open: bool = runtime(False, "Open the address in a browser of this machine.")
