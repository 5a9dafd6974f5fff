"""A chosen and a rejected conversation → the turns that they share, and the two answers."""

from grao_pipeline.prompts.base import DroppedRow, Message


def split_pair(chosen: list[Message], rejected: list[Message] | None) -> tuple[list[Message], str, str | None]:
    """(shared messages, chosen answer, rejected answer) of conversations that differ only in their last turn.

    Raises:
        DroppedRow: they differ earlier, are equal, or do not both end in an assistant turn.
    """
    if chosen == rejected:
        raise DroppedRow("chosen and rejected are the same")
    if rejected is not None and chosen[:-1] != rejected[:-1]:
        raise DroppedRow("chosen and rejected differ before the last turn")
    if any(messages[-1]["role"] != "assistant" for messages in (chosen, rejected or chosen)):
        raise DroppedRow("chosen or rejected does not end in an assistant turn")
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"] if rejected is not None else None
