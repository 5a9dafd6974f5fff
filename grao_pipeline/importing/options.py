"""Options of `grao import`."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from grao_pipeline.models.templates import (
    CHAT_TEMPLATE_HELP,
    DEFAULT_DATE,
    REFERENCE_REASONING_HELP,
    TEMPLATE_ARG_HELP,
    TEMPLATE_DATE_HELP,
    TemplateDate,
)
from grao_pipeline.options import KeyValues, option, runtime
from grao_pipeline.prompts.options import SourceOptions


class ImportOptions(SourceOptions):
    """`grao import`: prompts with responses from elsewhere → groups, and scores where there are rewards."""

    help_sections: ClassVar[Mapping[str, str]] = {
        "name": "Groups and rewards",
        "chat_template": "Chat template",
        "prompts_per_part": "Output",
    }

    name: str = option("imported", "Name that the source's rewards get in later tables.")
    tokenizer: str | None = runtime(
        None, "Add token ids, as training needs them, with this model's tokenizer: a directory or hub id."
    )
    group_by: list[str] = option(
        [],
        "Where a row is one sample: a column whose values, with the prompt, distinguish groups, e.g. step. Repeatable.",
    )
    batch_input: str | None = runtime(
        None, "The input file of the OpenAI batch whose output file SOURCE is: it has the prompts."
    )
    chat_template: str | None = option(None, CHAT_TEMPLATE_HELP)
    template_arg: KeyValues = option([], TEMPLATE_ARG_HELP)
    template_date: TemplateDate = option(DEFAULT_DATE, TEMPLATE_DATE_HELP)
    reference_reasoning: Literal["required", "empty", "none"] = option("required", REFERENCE_REASONING_HELP)
    prompts_per_part: int = option(64, "Prompts per part: the unit of commit and of resume.", ge=1)
