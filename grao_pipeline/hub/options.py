"""Options of `grao push`."""

from grao_pipeline.options import StageOptions, runtime


class PushOptions(StageOptions):
    """`grao push`: a model or tables → a repository of the hub."""

    private: bool = runtime(False, "Create the repository as a private one; an existing one stays as it is.")
    revision: str = runtime("main", "Branch to commit to; created where it does not exist.")
    message: str | None = runtime(None, "Message of the commit.")
    license: str | None = runtime(
        None, "License for the card, e.g. apache-2.0; by default that of the base model, where its card names one."
    )
    look_in: list[str] = runtime(
        [], "Also look for what it was made from in this folder, for the card, e.g. that of the rounds. Repeatable."
    )
    dry_run: bool = runtime(False, "Print the card and the files, and push nothing; needs no network.")
