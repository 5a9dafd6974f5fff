"""Servers that do not accept a JSON schema: what the judge asks them instead, and how strictly it reads."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.progress import RecordedProgress
from grao_pipeline.schemas import Status
from grao_pipeline.scoring.judges.answer_format import NoAnswer, read_answer
from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from tests.scoring.judges.common import Answer, JudgeServer, candidates, judge, longer_wins, rewards, statuses

VERDICTS = {"verdict": ["A", "B", "tie"]}
TEXTS = [f"answer {number}" * (number + 1) for number in range(6)]


def refusing(*formats: str, status: int = 400, error: str = "This response_format type is unavailable now") -> Any:
    """A server that does not accept these values of response_format."""

    def refuse(request: dict[str, Any]) -> Answer | None:
        asked = request.get("response_format", {}).get("type", "text")
        return Answer(status=status, error=error) if asked in formats else None

    return refuse


def formats_of(requests: list[dict[str, Any]]) -> list[str]:
    return [request.get("response_format", {}).get("type", "text") for request in requests]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refused", "accepted"), [(["json_schema"], "json_object"), (["json_schema", "json_object"], "text")]
)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "This response_format type is unavailable now"),
        (422, "Failed to deserialize the JSON body: response_format.type: unknown variant `json_schema`"),
        (404, "no endpoints found that can handle the requested parameters"),
        (501, "not implemented"),
        (500, "json_schema is not supported by this backend"),
    ],
)
def test_a_server_without_schemas_judges_like_one_with_them(
    server: JudgeServer, refused: list[str], accepted: str, status: int, error: str
) -> None:
    """Every question is answered once; only the first one is asked in the forms that the server refuses."""
    server.rule = longer_wins
    expected = rewards(list(judge("judge-pairwise", server).score(candidates(TEXTS))))
    server.requests.clear()
    server.answered.clear()
    server.refuse = refusing(*refused, status=status, error=error)
    judgements = list(judge("judge-pairwise", server, "retries=0").score(candidates(TEXTS)))
    assert rewards(judgements) == expected
    assert formats_of(server.answered) == [accepted] * 12
    assert formats_of(server.requests)[: len(refused)] == refused
    assert len(server.requests) == 12 + len(refused)
    asked = [json.dumps(request["messages"]) for request in server.answered]
    assert len(set(asked)) == len(asked)


@pytest.mark.slow
def test_the_form_is_decided_once_and_said(server: JudgeServer) -> None:
    server.rule, server.refuse = longer_wins, refusing("json_schema")
    progress = RecordedProgress()
    options = ScoreOptions(reward="judge-pairwise", reward_arg=[f"base_url={server.base_url}"])
    reward = make_reward(options, progress)
    list(reward.score(candidates(TEXTS[:2])))
    list(reward.score(candidates(TEXTS[2:])))
    assert formats_of(server.requests) == ["json_schema"] + ["json_object"] * 12
    assert progress.notes == [
        f"{server.base_url} does not accept a JSON schema as response_format; the judge is asked for a JSON object "
        "without a schema (json_object), which is read strictly."
    ]


@pytest.mark.slow
def test_a_text_that_is_too_long_says_nothing_about_the_server(server: JudgeServer) -> None:
    """The first question is refused for its length: it is no reason to give up the schema."""
    too_long = Answer(status=400, error="This model's maximum context length is 4096 tokens")
    server.rule = lambda blocks: too_long if "long" in str(blocks) else longer_wins(blocks)
    judgements = list(judge("judge-pairwise", server).score(candidates(["long", *TEXTS])))
    assert statuses(judgements) == ["error"] + ["ok"] * 6
    assert formats_of(server.requests) == ["json_schema"] * 14


@pytest.mark.slow
def test_a_server_that_refuses_every_form_is_not_asked_all_questions_in_all_of_them(server: JudgeServer) -> None:
    server.refuse = lambda _: Answer(status=400, error="no")
    judgements = list(judge("judge-rubric", server).score(candidates([f"text {n}" for n in range(20)])))
    assert statuses(judgements) == ["error"] * 20
    assert len(server.requests) == 20 + 2 * 4


@pytest.mark.slow
def test_the_older_name_of_the_limit_is_used_where_the_newer_is_refused(server: JudgeServer) -> None:
    def refuse(request: dict[str, Any]) -> Answer | None:
        if "max_completion_tokens" in request:
            return Answer(status=422, error="Extra inputs are not permitted: max_completion_tokens")
        return None

    server.rule, server.refuse = longer_wins, refuse
    list(judge("judge-pairwise", server, "max_tokens=99").score(candidates(TEXTS)))
    assert formats_of(server.answered) == ["json_schema"] * 12
    assert {request["max_tokens"] for request in server.answered} == {99}
    assert len(server.requests) == 13


@pytest.mark.parametrize(
    "text",
    [
        '{"verdict": "A"}',
        ' \n{"verdict":"A"}\n',
        '```json\n{"verdict": "A"}\n```',
        '```\n{\n  "verdict": "A"\n}\n```\n',
        '<think>\nB? No.\n</think>\n\n{"verdict": "A"}',
        'It is short, and {"verdict": "B"} would be wrong.</think>```json\n{"verdict": "A"}\n```',
        '[THINK]Hm.[/THINK]{"verdict": "A"}',
        '{"explanation": "it says </think> {", "verdict": "A"}',
    ],
)
def test_a_verdict_may_follow_a_thought_and_stand_in_a_code_fence(text: str) -> None:
    assert read_answer(Reply(text), VERDICTS) == {"verdict": "A"}


@pytest.mark.parametrize(
    "text",
    [
        'The verdict: {"verdict": "A"}',
        '{"verdict": "A"} is my verdict.',
        '```json\n{"verdict": "A"}\n```\n```json\n{"verdict": "B"}\n```',
        '<think>{"verdict": "A"}',
        '{"verdict": "B"}\n</think>\nI cannot decide.',
        '{"verdict": "A", "verdict": "B"}',
        '{"verdict": "A", "verdict": "A"}',
        '"{\\"verdict\\": \\"A\\"}"',
        '`{"verdict": "A"}`',
        '<answer>{"verdict": "A"}</answer>',
    ],
)
def test_anything_else_next_to_the_object_is_no_verdict(text: str) -> None:
    with pytest.raises(NoAnswer) as caught:
        read_answer(Reply(text), VERDICTS)
    assert (caught.value.status, caught.value.detail) == ("unparsable", text)


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_text_around_the_object_is_read_only_where_it_is_a_thought(before: str, after: str) -> None:
    """Whatever stands around it, the verdict is A or there is no verdict; with text after it there is not."""
    status: Status = "ok"
    try:
        assert read_answer(Reply(f'{before}{{"verdict": "A"}}{after}'), VERDICTS) == {"verdict": "A"}
    except NoAnswer as error:
        status = error.status
    assert status == ("ok" if not before.strip() and not after.strip() else "unparsable")
