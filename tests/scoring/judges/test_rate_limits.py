"""Servers with limits: every question is answered once, however often the server asks to wait."""

import time
from email.utils import formatdate
from typing import Any

import pytest

from grao_pipeline.errors import StageFailure
from grao_pipeline.models.pace import estimated_tokens
from grao_pipeline.models.server_errors import retry_after
from tests.scoring.judges.common import Answer, JudgeServer, candidates, judge, longer_wins, rewards

TEXTS = [f"text {number}" for number in range(10)]


class Limiter:
    """Lets `allowed` requests through in every window of `seconds`, and says when the next window begins."""

    def __init__(self, allowed: int, seconds: float, header: str) -> None:
        self.allowed, self.seconds, self.header = allowed, seconds, header
        self.window, self.count, self.refused = 0.0, 0, 0

    def refuse(self, _: dict[str, Any]) -> Answer | None:
        now = time.time()
        if now >= self.window + self.seconds:
            self.window, self.count = now, 0
        self.count += 1
        if self.count <= self.allowed:
            return None
        self.refused += 1
        left = self.window + self.seconds - now
        text = {"retry-after": f"{left:.3f}", "retry-after-ms": f"{left * 1000:.0f}"}[self.header]
        return Answer(status=429, error="slow down", headers=((self.header, text),))


@pytest.mark.slow
@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
def test_a_rate_limited_server_answers_every_question_once(server: JudgeServer, header: str) -> None:
    """Twenty questions at four in 0.1 s: each 429 is a wait, not one of the three further tries."""
    limiter = Limiter(4, 0.1, header)
    server.rule, server.refuse = longer_wins, limiter.refuse
    reward = judge("judge-pairwise", server, "retries=3")
    assert rewards(list(reward.score(candidates(TEXTS, reference="t")))) == [1.0] * 10
    assert len(server.answered) == 20
    assert limiter.refused > 0
    assert reward.remarks() == [
        f"{server.base_url} answered {limiter.refused} requests with status 429; they were sent again later."
    ]


@pytest.mark.slow
def test_a_server_that_lets_nothing_through_ends_the_stage(server: JudgeServer) -> None:
    server.refuse = lambda _: Answer(status=429, error="quota exceeded", headers=(("retry-after", "0"),))
    with pytest.raises(StageFailure, match=r"failed 3 times; the last time with status 429: quota exceeded"):
        list(judge("judge-pairwise", server, "retries=2").score(candidates(TEXTS)))


def test_a_pause_of_hours_ends_the_stage_and_is_named(server: JudgeServer) -> None:
    server.refuse = lambda _: Answer(status=429, error="daily limit", headers=(("retry-after", "7200"),))
    with pytest.raises(StageFailure, match=r"asks to wait for 120 minutes \(Retry-After\)\. Run the same command then"):
        list(judge("judge-pairwise", server).score(candidates(TEXTS)))


@pytest.mark.slow
def test_requests_are_spaced_by_the_limit_of_a_minute(server: JudgeServer) -> None:
    """20 requests at 1,200 a minute are 19 intervals of 0.05 s."""
    server.rule = longer_wins
    started = time.monotonic()
    list(judge("judge-pairwise", server, "requests_per_minute=1200").score(candidates(TEXTS)))
    assert time.monotonic() - started >= 19 * 0.05
    assert len(server.requests) == 20


@pytest.mark.slow
def test_tokens_are_spaced_by_the_servers_own_count(server: JudgeServer) -> None:
    """Each request costs 107 tokens by the server's count, far less than its limit: at 60,000 a minute 20 need 2 s."""
    server.rule = longer_wins
    arguments = ["tokens_per_minute=60000", "max_tokens=20", "concurrency=1"]
    started = time.monotonic()
    list(judge("judge-pairwise", server, *arguments).score(candidates(TEXTS[:3])))
    assert time.monotonic() - started >= 5 * 0.107


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "300", "retry-after": "1"}, 0.3),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_servers_wait_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_wait_until_a_date_is_the_time_to_it() -> None:
    wait = retry_after({"retry-after": formatdate(time.time() + 100)})
    assert wait is not None
    assert 95 < wait <= 100


def test_tokens_are_estimated_at_four_characters_and_the_limit() -> None:
    """12 characters are 3 tokens; two answers of 50."""
    body = {"messages": [{"role": "user", "content": "12345678"}], "max_completion_tokens": 50, "n": 2}
    assert estimated_tokens(body) == 3 + 100
    assert estimated_tokens({"prompt": [1, 2, 3, 4], "max_tokens": 5}) == 9
