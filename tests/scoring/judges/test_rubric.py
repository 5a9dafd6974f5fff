"""Scores from 1 to 10, by one criterion or several."""

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from tests.scoring.judges.common import Answer, JudgeServer, blocks_of, candidates, judge, rewards, statuses

FAKE = "engine=grao_pipeline.scoring.judges.base:FakeChatModel"
TWO = ["criterion.correct=Every statement is true.", "criterion.kind=It is kind and polite."]


@pytest.mark.slow
def test_the_reward_is_the_score(server: JudgeServer) -> None:
    server.rule = lambda blocks: Answer({"score": len(blocks["the answer"])})
    judgements = list(judge("judge-rubric", server).score(candidates(["a", "seven..", "ten chars."])))
    assert rewards(judgements) == [1.0, 7.0, 10.0]
    assert judgements[1].detail == '{"score": 7}'
    assert judgements[1].tokens == 107


def test_the_reward_of_several_criteria_is_their_mean(server: JudgeServer) -> None:
    server.rule = lambda _: Answer({"correct": 9, "kind": 4})
    judgements = list(judge("judge-rubric", server, *TWO).score(candidates(["Paris."])))
    assert rewards(judgements) == [6.5]
    system = server.requests[0]["messages"][0]["content"]
    assert '"correct": Every statement is true.' in system
    assert '"kind": It is kind and polite.' in system


@pytest.mark.slow
def test_the_reference_is_scored_and_never_shown_with_a_sample(server: JudgeServer) -> None:
    server.rule = lambda _: Answer({"score": 8})
    judgements = list(judge("judge-rubric", server).score(candidates(["Paris it is.", "Lyon."])))
    assert rewards(judgements) == [8.0, 8.0]
    assert {blocks_of(prompt)["the answer"] for prompt in server.prompts()} == {"Paris it is.", "Lyon."}
    assert sum("Paris it is." in prompt for prompt in server.prompts()) == 1


@pytest.mark.slow
def test_the_schema_allows_whole_numbers_from_1_to_10(server: JudgeServer) -> None:
    server.rule = lambda _: Answer({"score": 8})
    list(judge("judge-rubric", server).score(candidates(["Paris."])))
    assert server.requests[0]["response_format"]["json_schema"]["schema"] == {
        "type": "object",
        "properties": {"score": {"type": "integer", "enum": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}},
        "required": ["score"],
        "additionalProperties": False,
    }


@pytest.mark.slow
@pytest.mark.parametrize("score", [0, 11, -1, 7.0, 7.5, "7", True, None, [7], 1e400])
def test_a_score_off_the_scale_is_unparsable(server: JudgeServer, score: object) -> None:
    server.rule = lambda _: Answer({"score": score})
    judgements = list(judge("judge-rubric", server).score(candidates(["Paris."])))
    assert (rewards(judgements), statuses(judgements)) == ([None], ["unparsable"])


@pytest.mark.slow
def test_a_missing_score_makes_no_reward(server: JudgeServer) -> None:
    server.rule = lambda _: Answer({"correct": 9})
    judgements = list(judge("judge-rubric", server, *TWO).score(candidates(["Paris."])))
    assert (rewards(judgements), statuses(judgements)) == ([None], ["unparsable"])


@pytest.mark.slow
def test_equal_samples_are_asked_about_once(server: JudgeServer) -> None:
    server.rule = lambda _: Answer({"score": 3})
    judgements = list(judge("judge-rubric", server).score(candidates(["Paris."] * 3)))
    assert rewards(judgements) == [3.0] * 3
    assert [judgement.tokens for judgement in judgements] == [107, 0, 0]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["criterion=helpful", *TWO], "criterion=… or criterion.KEY=…, not both"),
        (["criterion.Kind=It is kind."], "criterion.Kind cannot be a name: use small letters"),
        (["criterion.explanation=It is kind."], "criterion.explanation cannot be a name"),
        (["criterion.kind=kindness"], "unknown criterion 'kindness'"),
        (["criterion.=It is kind."], "has no argument 'criterion.'"),
        (["criterion.score"], "expected key=value"),
    ],
)
def test_wrong_criteria_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_reward(ScoreOptions(reward="judge-rubric", reward_arg=[FAKE, *arguments]))
