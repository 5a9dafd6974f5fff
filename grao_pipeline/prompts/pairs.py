"""A chosen and a rejected conversation → the turns that they share, and the two answers."""

from grao_pipeline.prompts.base import DroppedRow, Message
from grao_pipeline.prompts.turns import same_text


def split_pair(chosen: list[Message], rejected: list[Message] | None) -> tuple[list[Message], Message, Message | None]:
    """(shared messages, chosen turn, rejected turn) of conversations that differ only in their last turn.

    Raises:
        DroppedRow: they differ earlier, are equal, or do not both end in an assistant turn.
    """
    if chosen == rejected:
        raise DroppedRow("chosen and rejected are the same")
    if rejected is not None and chosen[:-1] != rejected[:-1]:
        raise DroppedRow("chosen and rejected differ before the last turn")
    if any(messages[-1]["role"] != "assistant" for messages in (chosen, rejected or chosen)):
        raise DroppedRow("chosen or rejected does not end in an assistant turn")
    return chosen[:-1], chosen[-1], rejected[-1] if rejected is not None else None


def whole_conversation(prompt: list[Message], turns: list[Message], name: str) -> list[Message]:
    """The conversation of a prompt and of `turns`, which are those after it, or begin with it, or hold it.

    `turns` with a user turn are a whole conversation where the prompt's turns are among them; white space and system
    messages do not count. A system message of the prompt is put before a conversation without one.

    Raises:
        DroppedRow: `turns` are another conversation.
    """
    asked = [message for message in prompt if message["role"] not in ("system", "developer")]
    if not asked:
        return [*prompt, *turns]
    if _is_within(asked, turns):
        has_system = turns[0]["role"] in ("system", "developer")
        return turns if has_system else [*prompt[: len(prompt) - len(asked)], *turns]
    if turns[0]["role"] in ("assistant", "tool") or asked[-1]["role"] == "assistant":
        return [*prompt, *turns]
    raise DroppedRow(f"prompt and {name} are different conversations")


def _is_within(asked: list[Message], turns: list[Message]) -> bool:
    return any(
        all(map(_same_turn, asked, turns[start : start + len(asked)]))
        for start in range(len(turns) - len(asked))  # an answer follows
    )


def _same_turn(one: Message, other: Message) -> bool:
    return one["role"] == other["role"] and same_text(one["content"], other["content"])
