"""A judge on an OpenAI-compatible server: its requests, the replies, and their order."""

import threading
import time

import pytest

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.plugin_kinds import describe_plugin
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from tests.scoring.judges.common import (
    MODEL,
    Answer,
    JudgeServer,
    candidates,
    judge,
    judge_server,
    longer_wins,
    rewards,
    statuses,
)


@pytest.mark.slow
def test_the_request_is_greedy_and_has_a_limit_and_the_schema(server: JudgeServer) -> None:
    server.rule = longer_wins
    list(judge("judge-pairwise", server, "max_tokens=33").score(candidates(["Lyon."])))
    request = server.requests[0]
    assert sorted(request) == ["max_completion_tokens", "messages", "model", "response_format", "temperature"]
    assert (request["model"], request["temperature"], request["max_completion_tokens"]) == (MODEL, 0.0, 33)
    schema = {
        "type": "object",
        "properties": {"verdict": {"type": "string", "enum": ["A", "B", "tie"]}},
        "required": ["verdict"],
        "additionalProperties": False,
    }
    json_schema = {"name": "answer", "strict": True, "schema": schema}
    assert request["response_format"] == {"type": "json_schema", "json_schema": json_schema}


@pytest.mark.slow
def test_further_fields_reach_the_server_and_the_fingerprint(server: JudgeServer) -> None:
    server.rule = longer_wins
    fields = [
        "body.reasoning_effort=low",
        "body.temperature=null",
        'body.chat_template_kwargs={"enable_thinking":false}',
    ]
    reward = judge("judge-pairwise", server, *fields)
    list(reward.score(candidates(["Lyon."])))
    assert server.requests[0]["reasoning_effort"] == "low"
    assert server.requests[0]["temperature"] is None
    assert server.requests[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert reward.identity() != judge("judge-pairwise", server).identity()


@pytest.mark.parametrize("key", ["model", "messages", "response_format", "n", "max_completion_tokens"])
def test_fields_that_the_judge_sets_are_refused(server: JudgeServer, key: str) -> None:
    with pytest.raises(UsageError, match=f"'body.{key}' cannot be set here"):
        judge("judge-pairwise", server, f"body.{key}=1")


@pytest.mark.slow
def test_judgements_come_in_order_although_replies_do_not(server: JudgeServer) -> None:
    """The first are answered last."""
    server.rule = longer_wins
    server.delay = lambda blocks: 0.2 if "slow" in blocks["answer A"] + blocks["answer B"] else 0.0
    texts = ["slow", *("x" * length for length in range(1, 21)), "slow, too"]
    judgements = list(judge("judge-pairwise", server).score(candidates(texts, "twelve chars")))
    assert rewards(judgements) == [-1.0] + [-1.0] * 11 + [0.0] + [1.0] * 8 + [-1.0]


@pytest.mark.slow
def test_a_judgement_is_given_before_the_last_questions_are_asked(server: JudgeServer) -> None:
    server.rule = longer_wins
    reward = judge("judge-pairwise", server, "concurrency=2")
    judgements = iter(reward.score(candidates([f"answer {number}" for number in range(50)])))
    assert next(judgements).status == "ok"
    assert len(server.requests) < 20
    judgements.close()  # type: ignore[attr-defined]
    time.sleep(0.2)
    assert len(server.requests) < 20


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 5])
def test_the_allowed_number_of_requests_is_in_flight(server: JudgeServer, concurrency: int) -> None:
    """After the first, the server answers only when this many requests are there; ten is a multiple of it."""
    together = threading.Barrier(concurrency)
    server.rule = longer_wins
    server.delay = lambda _: 0.0 * together.wait(timeout=60) if len(server.requests) > 1 else 0.0
    reward = judge("judge-pairwise", server, "swap=false", f"concurrency={concurrency}")
    list(reward.score(candidates([f"answer {number}" for number in range(11)])))
    assert server.most_in_flight == concurrency


@pytest.mark.slow
def test_tokens_are_those_of_all_calls(server: JudgeServer) -> None:
    """Each judgement is two calls; a call takes as many tokens as answer A has characters, and 3 to answer."""

    def rule(blocks: dict[str, str]) -> Answer:
        return Answer({"verdict": "A"}, prompt_tokens=len(blocks["answer A"]), completion_tokens=3)

    server.rule = rule
    judgements = list(judge("judge-pairwise", server).score(candidates(["seven..", "four"], reference="reference")))
    assert [judgement.tokens for judgement in judgements] == [7 + 9 + 2 * 3, 4 + 9 + 2 * 3]


@pytest.mark.slow
def test_a_refused_question_is_an_error_of_its_row(server: JudgeServer) -> None:
    def rule(blocks: dict[str, str]) -> Answer:
        too_long = "long" in blocks["answer A"]  # as A only: the other order is answered
        return Answer(status=400, error="maximum context length is 4096") if too_long else longer_wins(blocks)

    server.rule = rule
    judgements = list(judge("judge-pairwise", server).score(candidates(["too long to be read", "Lyon."])))
    assert (rewards(judgements), statuses(judgements)) == ([None, -1.0], ["error", "ok"])
    assert judgements[0].detail == "the server refuses the question (status 400): maximum context length is 4096"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        (
            Answer('{"verdict": "A"}', "length"),
            "truncated",
            'cut off at 7 tokens (--reward-arg max_tokens): {"verdict": "A"}',
        ),
        (Answer(None, "length"), "truncated", "cut off at 7 tokens (--reward-arg max_tokens): "),
        (Answer(None), "unparsable", "the judge's reply is empty"),
        (Answer(None, refusal="I cannot."), "unparsable", "the judge refuses: I cannot."),
        (Answer("As a", "content_filter"), "unparsable", "the judge refuses: As a"),
    ],
)
def test_an_unfinished_reply_is_not_a_verdict(server: JudgeServer, answer: Answer, status: str, detail: str) -> None:
    server.rule = lambda _: answer
    [judgement] = judge("judge-pairwise", server).score(candidates(["Lyon."]))
    assert (judgement.reward, judgement.status, judgement.detail, judgement.tokens) == (None, status, detail, 214)


def test_a_server_that_fails_for_good_ends_the_stage(server: JudgeServer) -> None:
    server.rule = lambda _: Answer(status=500, error="out of memory")
    with pytest.raises(StageFailure, match="out of memory"):
        list(judge("judge-pairwise", server, "retries=0").score(candidates(["Lyon."])))


@pytest.mark.slow
def test_identity_is_the_model_and_not_where_or_how_fast_it_runs(server: JudgeServer) -> None:
    with judge_server() as elsewhere:
        same = judge("judge-pairwise", elsewhere, "concurrency=2", "retries=1", "request_timeout=5")
        assert same.identity() == judge("judge-pairwise", server).identity()
        elsewhere.models = ["another"]
        assert judge("judge-pairwise", elsewhere).identity() != same.identity()
    assert judge("judge-pairwise", server, f"served_model={MODEL}").identity()["model"] == MODEL


def test_the_server_is_asked_once_for_its_only_model(server: JudgeServer) -> None:
    server.rule = longer_wins
    reward = judge("judge-pairwise", server)
    assert server.lists_asked == 0
    assert reward.identity()["model"] == MODEL
    list(reward.score(candidates(["Lyon.", "Nice."])))
    assert reward.identity()["model"] == MODEL
    assert server.lists_asked == 1


def test_of_several_models_one_must_be_named(server: JudgeServer) -> None:
    server.models = ["one", "two"]
    with pytest.raises(UsageError, match="one, two"):
        judge("judge-pairwise", server).identity()
    assert judge("judge-pairwise", server, "served_model=two").identity()["model"] == "two"


@pytest.mark.parametrize(
    "argument",
    ["concurrency=many", "concurrency=0", "concurrency=1001", "retries=-1", "request_timeout=0", "base_url=here"],
)
def test_a_wrong_setting_is_named(argument: str) -> None:
    name, _, value = argument.partition("=")
    arguments = ["base_url=http://localhost:1/v1", argument]
    with pytest.raises(UsageError, match=f"{name.replace('_', '.')}.*{value}"):
        make_reward(ScoreOptions(reward="judge-pairwise", reward_arg=arguments))


@pytest.mark.slow
def test_rewards_do_not_depend_on_other_questions(server: JudgeServer) -> None:
    server.rule = longer_wins
    group = candidates([f"answer {number}" * number for number in range(6)])
    together = list(judge("judge-pairwise", server).score(group))
    alone = [next(iter(judge("judge-pairwise", server).score([candidate]))) for candidate in group]
    assert together == alone


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "base-url=http://host/v1",
            r"has no argument 'base-url'\. Did you mean base_url\? .* With base_url=…: base_url, ",
        ),
        ("criterion=helpful", r"needs model=… \(or base_url=…\)\. .* With base_url=…: base_url, served_model, "),
    ],
)
def test_the_arguments_of_a_server_are_listed_where_none_is_named(given: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_reward(ScoreOptions(reward="judge-pairwise", reward_arg=[given]))


def test_the_help_of_a_judge_shows_the_arguments_of_a_server() -> None:
    arguments = {argument["name"]: argument for argument in describe_plugin("reward", "judge-rubric").arguments}
    assert {"model", "base_url", "served_model", "requests_per_minute"} <= arguments.keys()
    assert not arguments["model"]["required"]


def test_a_message_about_a_server_names_the_argument_as_it_is_written(server: JudgeServer) -> None:
    server.models = ["one", "two"]
    with pytest.raises(UsageError, match=r"serves one, two\. Name one with --reward-arg served_model=…\."):
        judge("judge-pairwise", server).identity()
