"""The format `alpaca`: `instruction`, optionally `input`, and `output`."""

from grao_pipeline.prompts.base import Prompt, PromptFormat, Row, filled, rest
from grao_pipeline.prompts.conversations import text


def convert(row: Row) -> Prompt:
    """The prompt is the instruction, followed by a blank line and the input where the row has one.

    Raises:
        DroppedRow: a value is missing or empty.
    """
    instruction = text(row["instruction"], "instruction")
    given = "" if row.get("input") is None else text(row["input"], "input")
    content = f"{instruction}\n\n{given}" if given.strip() else instruction
    reference = filled(text(row["output"], "output"))
    return Prompt([{"role": "user", "content": content}], reference, None, rest(row, "instruction", "input", "output"))


def fits(sample: Row) -> bool:
    return {"instruction", "output"} <= sample.keys()


FORMAT = PromptFormat(
    name="alpaca",
    columns=("instruction", "output"),
    shape="instruction, input (may be empty), output: the input follows the instruction after a blank line",
    fits=fits,
    convert=convert,
    optional=("input",),
)
