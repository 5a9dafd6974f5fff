"""A prompt that was decoded from token IDs without its special tokens, as verl dumps it → its turns."""

import re

from grao_pipeline.prompts.base import Message

CHATML = re.compile(
    r"\A(?:system\n(?P<system>.*?)\n)?user\n(?P<user>.*)\nassistant\n(?:<think>\n)?\Z",
    re.DOTALL,
)
"""ChatML (Qwen and its relatives) without `<|im_start|>` and `<|im_end|>`."""
ROLE_LINE = re.compile(r"^(?:system|user|assistant|tool)$", re.MULTILINE)


def turns_of_rendered(text: str) -> list[Message] | None:
    """The system message and the question of a rendered prompt of one turn; None where it is anything else.

    Example: `turns_of_rendered("user\\n2+2?\\nassistant\\n")` → `[{"role": "user", "content": "2+2?"}]`
    """
    match = CHATML.match(text)
    if match is None or any(ROLE_LINE.search(part) for part in match.groups() if part is not None):
        return None
    system, question = match["system"], match["user"]
    turns: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    return [*turns, {"role": "user", "content": question}]
