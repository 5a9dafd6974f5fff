"""A format of your own, as a function: conversations that are one text, with a speaker's name before every turn.

    grao prompts interviews.jsonl data --format examples.custom_format:interview

Copy the file next to your data and name it `my_formats:interview`. This text is read from it for the fingerprint of the
prompts: an edited format is another format.
"""

from typing import Any

from grao_pipeline.prompts.base import DroppedRow

ROLES = {"Q": "user", "A": "assistant"}


def interview(row: dict[str, Any]) -> dict[str, Any]:
    """Lines `Q: …` and `A: …` of a column `text`; the last answer is the reference."""
    turns = []
    for line in str(row["text"]).splitlines():
        speaker, colon, words = line.partition(": ")
        if not colon or speaker not in ROLES:
            raise DroppedRow("a line is neither a question nor an answer")
        turns.append({"role": ROLES[speaker], "content": words})
    if not turns or turns[-1]["role"] != "assistant":
        raise DroppedRow("the interview does not end in an answer")
    metadata = {name: value for name, value in row.items() if name != "text"}
    return {"messages": turns[:-1], "reference": turns[-1]["content"], "metadata": metadata}
