"""Columns that mean the same in every format: system, tools, reference, reference_reasoning."""

from collections.abc import Mapping
from dataclasses import replace

from grao_pipeline.prompts.base import Prompt, filled
from grao_pipeline.prompts.conversations import text
from grao_pipeline.prompts.tools import read_tools

SYSTEM_COLUMNS = ("system", "system_prompt")
GENERAL = {*SYSTEM_COLUMNS, "tools", "functions", "reference", "reference_reasoning"}


def with_general_columns(prompt: Prompt, has_own_answer: bool) -> Prompt:
    """The prompt with what these columns say, which a format leaves in the metadata. Where the format has read the same
    from another place, they stay there.

    Args:
        has_own_answer: the row's answer is its own, be it a reference or a rejected answer.

    Raises:
        DroppedRow: a value is malformed.
    """
    if GENERAL.isdisjoint(prompt.metadata):
        return prompt
    metadata = dict(prompt.metadata)
    messages, tools, reference, reasoning = prompt.messages, prompt.tools, prompt.reference, prompt.reference_reasoning
    if tools is None and "tools" in metadata:
        tools = read_tools(metadata.pop("tools"))
    functions = metadata.get("functions")
    if tools is None and isinstance(functions, list) and all(isinstance(one, Mapping) for one in functions):
        tools = read_tools(metadata.pop("functions"), "functions")
    for name in SYSTEM_COLUMNS:
        if isinstance(metadata.get(name), str) and messages[0]["role"] not in ("system", "developer"):
            system = metadata.pop(name)
            messages = [{"role": "system", "content": system}, *messages] if system.strip() else messages
    if reference is None and not has_own_answer and isinstance(metadata.get("reference"), str | int | float):
        reference = filled(text(metadata.pop("reference"), "reference"))
    if reference is not None and reasoning is None and isinstance(metadata.get("reference_reasoning"), str):
        reasoning = metadata.pop("reference_reasoning").strip() or None
    return replace(
        prompt, messages=messages, tools=tools, reference=reference, reference_reasoning=reasoning, metadata=metadata
    )
