"""Options of `grao import`."""

from grao_pipeline.options import StageOptions, option, runtime


class ImportOptions(StageOptions):
    """`grao import`: prompts with responses from elsewhere → groups, and scores where there are rewards."""

    split: str = option("train", "Split to read, where the source has splits.")
    subset: str | None = option(None, "Configuration of a hub dataset that has several.")
    limit: int | None = option(None, "Read at most this many rows.", ge=1)
    map: list[str] = option([], "Rename a column before a row is read: column=field. Repeatable.")
    name: str = option("imported", "Name of the rewards that the source has, in later tables.")
    tokenizer: str | None = runtime(
        None, "Make token ids, as training needs them, with this model's tokenizer: a directory or hub id."
    )
    chat_template: str | None = option(None, "Jinja file to use instead of the tokenizer's chat template.")
    prompts_per_part: int = option(64, "Prompts per part: the unit of commit and of resume.", ge=1)
    rejects: str | None = runtime(None, "Write every dropped row, with its reason, to this JSONL file.")
