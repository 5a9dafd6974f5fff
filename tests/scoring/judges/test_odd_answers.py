"""Servers that answer in odd ways: a judgement with its reason, or one message; never a traceback."""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from grao_pipeline.errors import StageFailure
from grao_pipeline.scoring.judges.answer_format import NoAnswer, read_answer
from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from tests.loopback import QuietHandler, serving
from tests.scoring.judges.common import candidates

VERDICT = '{"verdict": "A"}'


class OddServer(QuietHandler):
    """Answers every question with the same bytes."""

    answer: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        self.send(200, b'{"data": [{"id": "odd"}]}', {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send(200, OddServer.answer, {})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(OddServer) as url:
        yield url


def answer_of(content: Any, usage: Any = None, **choice: Any) -> bytes:
    message = {"role": "assistant", "content": content}
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop", **choice}], "usage": usage}).encode()


def deep(opening: str, closing: str) -> str:
    return opening * 100_000 + closing * 100_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "status", "tokens"),
    [
        (answer_of([{"type": "text", "text": VERDICT}]), "ok", 0),
        (answer_of([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": VERDICT}]), "ok", 0),
        (answer_of([{"text": VERDICT[:5]}, {"text": VERDICT[5:]}]), "ok", 0),
        (answer_of(VERDICT, {"prompt_tokens": "many", "completion_tokens": None}), "ok", 0),
        (answer_of(VERDICT, {"prompt_tokens": -3, "completion_tokens": 4}), "ok", 8),
        (answer_of(VERDICT, {"prompt_tokens": 10**40, "completion_tokens": 1.5}), "ok", 0),
        (answer_of(VERDICT, [1, 2]), "ok", 0),
        (answer_of([1, 2]), "unparsable", 0),
        (answer_of([{"type": "text"}]), "unparsable", 0),
        (answer_of({"verdict": "A"}), "unparsable", 0),
        (answer_of(7), "unparsable", 0),
        (answer_of("a lone \ud800 surrogate"), "unparsable", 0),
        (answer_of(deep('{"a":', "}")), "unparsable", 0),
        (answer_of(deep("[", "]")), "unparsable", 0),
        (answer_of(VERDICT, finish_reason=3), "ok", 0),
        (answer_of(None, message=[]), "unparsable", 0),
        (b'{"choices": {"0": 1}}', "unparsable", 0),
        (b'{"choices": [[]]}', "unparsable", 0),
        (b'{"choices": [{"message": {"content": null, "refusal": ["no", "\\ud800"]}}]}', "unparsable", 0),
        (b'{"choices": []}', "unparsable", 0),
        (b"{}", "unparsable", 0),
    ],
)
def test_an_odd_answer_is_a_judgement(answer: bytes, status: str, tokens: int, url: str) -> None:
    OddServer.answer = answer
    reward = make_reward(ScoreOptions(reward="judge-pairwise", reward_arg=[f"base_url={url}", "retries=0"]))
    (judgement,) = reward.score(candidates(["Paris."]))
    assert (judgement.status, judgement.tokens) == (status, tokens)
    (judgement.detail or "").encode()  # the column of a table can hold it


@pytest.mark.parametrize("answer", [b"", b"[]", b"nonsense", deep('{"a":', "}").encode(), b'"text"'])
def test_an_answer_that_is_no_object_fails_the_stage(answer: bytes, url: str) -> None:
    OddServer.answer = answer
    reward = make_reward(ScoreOptions(reward="judge-pairwise", reward_arg=[f"base_url={url}", "retries=0"]))
    with pytest.raises(StageFailure, match="answered with something that is not"):
        list(reward.score(candidates(["Paris."])))


def test_a_long_thought_is_read_in_time() -> None:
    """A text of 200,000 characters that almost ends its thought again and again."""
    for text in ("</think" * 30_000, "</reasoning>" * 20_000, "<|channel|>final" * 15_000, "[/THINK" * 30_000):
        with pytest.raises(NoAnswer):
            read_answer(Reply(text), {"verdict": ["A", "B"]})
    assert read_answer(Reply("thought</think>" * 10_000 + VERDICT), {"verdict": ["A", "B"]}) == {"verdict": "A"}
