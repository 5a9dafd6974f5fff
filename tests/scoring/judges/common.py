"""Shared by the tests of judges: a chat server that answers by a rule, and an independent reader of the prompt."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward
from tests.loopback import QuietHandler, serving

MODEL = "scripted-judge"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@dataclass(frozen=True)
class Answer:
    """The server's answer. `content` is written as JSON unless it is text."""

    content: Any = None
    finish_reason: str = "stop"
    refusal: str | None = None
    status: int = 200
    error: str = ""
    prompt_tokens: int = 100
    completion_tokens: int = 7
    headers: tuple[tuple[str, str], ...] = ()


Rule = Callable[[dict[str, str]], Answer]
"""From the blocks of a prompt (by label) to an answer."""


def blocks_of(prompt: str) -> dict[str, str]:
    """The texts of a prompt by their labels, read as the judge's rules describe them."""
    [marker] = re.findall(r"\AThe marker is ([0-9a-f]{16})\.$", prompt, re.MULTILINE)
    blocks: dict[str, str] = {}
    rest = prompt
    while f" {marker} ===\n" in rest:
        begin, rest = rest.split(f" · {marker} ===\n", 1)
        label = begin.rpartition("=== BEGIN ")[2]
        text, rest = rest.split(f"\n=== END {label} · {marker} ===\n", 1)
        blocks[label] = text
    return blocks


def longer_wins(blocks: dict[str, str]) -> Answer:
    a, b = len(blocks["answer A"]), len(blocks["answer B"])
    return Answer({"verdict": "A" if a > b else "B" if b > a else "tie"})


def first_wins(blocks: dict[str, str]) -> Answer:
    return Answer({"verdict": "A"})


@dataclass
class JudgeServer:
    """A running server, and the requests that it got."""

    base_url: str = ""
    rule: Rule = first_wins
    models: list[str] = field(default_factory=lambda: [MODEL])
    refuse: Callable[[dict[str, Any]], Answer | None] = lambda _: None
    """From a request to the answer of a server that does not look at its prompt; None: it does."""
    delay: Callable[[dict[str, str]], float] = lambda _: 0.0
    reads: Callable[[str], str] = lambda prompt: prompt
    """The part of the last message with the marker and the blocks."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    answered: list[dict[str, Any]] = field(default_factory=list)
    """The requests that were not refused."""
    lists_asked: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prompts(self) -> list[str]:
        return [request["messages"][-1]["content"] for request in self.requests]

    def reply(self, request: dict[str, Any]) -> tuple[int, dict[str, Any], tuple[tuple[str, str], ...]]:
        with self.lock:
            self.requests.append(request)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        blocks = blocks_of(self.reads(request["messages"][-1]["content"]))
        time.sleep(self.delay(blocks))
        answer = self.refuse(request) or self.rule(blocks)
        with self.lock:
            self.in_flight -= 1
        if answer.status != 200:
            return answer.status, {"error": {"message": answer.error}}, answer.headers
        with self.lock:
            self.answered.append(request)
        content = answer.content
        text = content if content is None or isinstance(content, str) else json.dumps(content)
        message = {"role": "assistant", "content": text, "refusal": answer.refusal}
        usage = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
        usage["total_tokens"] = answer.prompt_tokens + answer.completion_tokens
        return 200, {"object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage}, answer.headers


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    """An OpenAI-compatible server on a free port of this machine."""
    state = JudgeServer()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            state.lists_asked += 1
            self._send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in state.models]})

        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            self._send(*state.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def _send(self, status: int, value: dict[str, Any], headers: tuple[tuple[str, str], ...] = ()) -> None:
            self.send(status, json.dumps(value).encode(), dict(headers))

    with serving(Handler) as state.base_url:
        yield state


def judge(name: str, server: JudgeServer, *arguments: str) -> Reward:
    """A judging reward that asks the server."""
    return make_reward(ScoreOptions(reward=name, reward_arg=[f"base_url={server.base_url}", *arguments]))


def candidates(
    completions: Sequence[str], reference: str | None = "Paris it is.", messages: list[dict[str, str]] = QUESTION
) -> list[Candidate]:
    """The samples of one group."""
    return [
        Candidate(messages, text, reference, {}, tuple(completions[:index]) + tuple(completions[index + 1 :]))
        for index, text in enumerate(completions)
    ]


def rewards(judgements: Sequence[Judgement]) -> list[float | None]:
    return [judgement.reward for judgement in judgements]


def statuses(judgements: Sequence[Judgement]) -> list[str]:
    return [judgement.status for judgement in judgements]
