"""The format `openai-batch`: the requests of an input file of OpenAI's batch API."""

from collections.abc import Mapping
from dataclasses import replace

from grao_pipeline.prompts.base import DroppedRow, Prompt, PromptFormat, Row, rest
from grao_pipeline.prompts.conversations import conversation
from grao_pipeline.prompts.formats.messages import prompt_of_turns
from grao_pipeline.prompts.tools import read_tools

PLACES = ("messages", "input", "prompt")
"""Where chat completions, responses and completions have the prompt."""


def convert(row: Row) -> Prompt:
    """The conversation of `body.messages` (of `input` or `prompt` for the other endpoints), with `body.tools`.

    The other columns, and the other keys of `body`, go to the metadata.

    Raises:
        DroppedRow: the body is missing, or has no conversation.
    """
    body = row["body"]
    if not isinstance(body, Mapping):
        raise DroppedRow("body is missing" if body is None else "body is not an object")
    place = next((name for name in PLACES if body.get(name) is not None), None)
    if place is None:
        raise DroppedRow("body has no messages, input or prompt")
    metadata = {**rest(row, "body"), "body": rest(body, place, "tools", "instructions")}
    if isinstance(body[place], list) and place != "prompt":
        prompt = prompt_of_turns(body[place], f"body.{place}", metadata)
    else:
        prompt = Prompt(conversation(body[place], f"body.{place}"), None, None, metadata)
    messages = prompt.messages
    if isinstance(body.get("instructions"), str):
        messages = [{"role": "system", "content": body["instructions"]}, *messages]
    tools = read_tools(body.get("tools"), "body.tools")
    return replace(prompt, messages=messages, tools=tools)


def fits(sample: Row) -> bool:
    body = sample.get("body")
    return isinstance(body, Mapping) and any(name in body for name in PLACES)


FORMAT = PromptFormat(
    name="openai-batch",
    columns=("body",),
    shape="custom_id, body: {messages, …}: an input file of OpenAI's batch API",
    fits=fits,
    convert=convert,
    optional=("custom_id",),
)
