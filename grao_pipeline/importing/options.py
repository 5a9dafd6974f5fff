"""Options of `grao import`."""

from grao_pipeline.options import option, runtime
from grao_pipeline.prompts.options import SourceOptions


class ImportOptions(SourceOptions):
    """`grao import`: prompts with responses from elsewhere → groups, and scores where there are rewards."""

    name: str = option("imported", "Name that the source's rewards get in later tables.")
    tokenizer: str | None = runtime(
        None, "Add token ids, as training needs them, with this model's tokenizer: a directory or hub id."
    )
    chat_template: str | None = option(None, "Jinja file to use instead of the tokenizer's chat template.")
    prompts_per_part: int = option(64, "Prompts per part: the unit of commit and of resume.", ge=1)
