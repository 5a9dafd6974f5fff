"""The format `openai-preference`: OpenAI's files for fine-tuning by preference."""

from collections.abc import Mapping
from dataclasses import replace

from grao_pipeline.prompts.base import DroppedRow, Prompt, PromptFormat, Row, rest
from grao_pipeline.prompts.formats import preference
from grao_pipeline.prompts.tools import read_tools


def convert(row: Row) -> Prompt:
    """`input.messages` is the prompt; the preferred and the other output are the reference and the rejected answer.

    Raises:
        DroppedRow: a value is missing or malformed.
    """
    given = row["input"]
    if not isinstance(given, Mapping) or given.get("messages") is None:
        raise DroppedRow("input has no messages")
    others = rest(row, "input", "preferred_output", "non_preferred_output")
    further = rest(given, "messages", "tools", "parallel_tool_calls")
    pair = {
        **others,
        **({"input": further} if any(value is not None for value in further.values()) else {}),
        "prompt": given["messages"],
        "chosen": row["preferred_output"],
        "rejected": row["non_preferred_output"],
    }
    prompt = preference.convert(pair)
    return replace(prompt, tools=read_tools(given.get("tools"), "input.tools"))


def fits(sample: Row) -> bool:
    return {"input", "preferred_output", "non_preferred_output"} <= sample.keys()


FORMAT = PromptFormat(
    name="openai-preference",
    columns=("input", "preferred_output", "non_preferred_output"),
    shape="input: {messages}, preferred_output, non_preferred_output: OpenAI's preference fine-tuning",
    fits=fits,
    convert=convert,
)
