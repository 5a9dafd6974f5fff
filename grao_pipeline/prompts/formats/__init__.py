"""The formats by name. To add one: a file in this folder, a line here, and its name in `prompts.options.Format`."""

from grao_pipeline.prompts.base import PromptFormat
from grao_pipeline.prompts.formats import hh, messages, preference, prompt_completion, question_answer

FORMATS: dict[str, PromptFormat] = {
    format_.name: format_
    for format_ in (
        hh.FORMAT,
        preference.FORMAT,
        prompt_completion.FORMAT,
        messages.FORMAT,
        question_answer.FORMAT,
    )
}
