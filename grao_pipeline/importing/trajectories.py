"""Turns of a trajectory → token IDs, as the chat template renders them, with a mask of what the policy sampled.

The policy sampled the assistant's turns, up to and with their end-of-turn token. Everything else (results of tools,
turns of users, the template's text between turns) is what it read.
"""

import json
from collections.abc import Sequence

from grao_pipeline.importing.samples import Tokens
from grao_pipeline.messages import Message
from grao_pipeline.models.chat import PromptTokenizer
from grao_pipeline.prompts.base import DroppedRow

REWRITES = "the chat template rewrites earlier turns, so that no single sequence is what the policy read"


def render_trajectory(
    prompts: PromptTokenizer, messages: Sequence[Message], turns: Sequence[Message], tools: str | None, is_cut: bool
) -> Tokens:
    """The continuation of a prompt by a trajectory.

    Turns are rendered one after the other: what the template renders for n turns must begin with what it renders for
    n − 1, since that is what the policy read when it sampled the n-th.

    Args:
        turns: the first is the assistant's.
        is_cut: the last turn was cut off: no end-of-turn token is put after it.

    Raises:
        DroppedRow: the template rewrites earlier turns, or leaves out a part of a turn.
        RefusedConversation: the template fails on the conversation.
    """
    writer = _Writer(prompts, messages, tools)
    last = len(turns) - 1
    for place, turn in enumerate(turns):
        if turn["role"] == "assistant":
            writer.assistant(turn, place == last, is_cut)
        else:
            writer.read(turn, place == last)
    return Tokens(writer.ids, writer.mask)


class _Writer:
    def __init__(self, prompts: PromptTokenizer, messages: Sequence[Message], tools: str | None) -> None:
        self.ids: list[int] = []
        self.mask: list[bool] = []
        self._prompts = prompts
        self._tools = tools
        self._history = list(messages)
        self._unread: list[Message] = []
        self._text = prompts.rendered(self._history, True, tools)
        self._awaits_answer = True

    def read(self, turn: Message, is_last: bool) -> None:
        """A turn that the policy did not sample; it is rendered with those next to it."""
        self._history.append(turn)
        self._unread.append(turn)
        self._awaits_answer = False
        if is_last:
            self._render_context(False)

    def assistant(self, turn: Message, is_last: bool, is_cut: bool) -> None:
        """A turn that the policy sampled."""
        if not self._awaits_answer:
            self._render_context(True)
        self._history.append(turn)
        piece, ids = self._next(False)
        _check_is_whole(piece, turn)
        stops = [place for place, token in enumerate(ids) if token in self._prompts.stop_token_ids]
        if is_last and is_cut:
            self._add(ids[: stops[-1]] if stops else ids, True)
        elif is_last and not stops:
            self._add([*ids, self._prompts.stop_token_ids[0]], True)
        else:
            end = stops[-1] + 1 if stops else len(ids)
            self._add(ids[:end], True)
            self._add([] if is_last else ids[end:], False)
        self._awaits_answer = False

    def _render_context(self, generation: bool) -> None:
        """What the policy reads next: the turns that it has not read, and where it is to answer, its header."""
        piece, ids = self._next(generation)
        for turn in self._unread:
            _check_is_whole(piece, turn)
        self._unread = []
        self._add(ids, False)

    def _next(self, generation: bool) -> tuple[str, list[int]]:
        """The text that the template adds for the turns since the last call, and its token IDs."""
        whole = self._prompts.rendered(self._history, generation, self._tools)
        if not whole.startswith(self._text):
            raise DroppedRow(REWRITES)
        piece = whole[len(self._text) :]
        ids = self._prompts.encoded_after(self._text, piece)
        self._text = whole
        return piece, ids

    def _add(self, ids: Sequence[int], sampled: bool) -> None:
        self.ids += ids
        self.mask += [sampled] * len(ids)


def _check_is_whole(piece: str, turn: Message) -> None:
    """Check that the template renders all of a turn.

    Raises:
        DroppedRow: it leaves out the text, the reasoning or a call; names which.
    """
    wanted = {"the text": turn["content"], "the reasoning": turn.get("reasoning_content", "")}
    for call in turn.get("tool_calls", ()):
        wanted |= {"a tool call": call["function"]["name"]}
    for name, text in wanted.items():
        if text.strip() not in piece and json.dumps(text.strip(), ensure_ascii=False)[1:-1] not in piece:
            raise DroppedRow(f"the chat template does not render {name} of a turn of the {turn['role']} as it is")
