"""The win rate of a sample within its group."""

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate
from tests.scoring.judges.common import (
    QUESTION,
    Answer,
    JudgeServer,
    candidates,
    first_wins,
    judge,
    longer_wins,
    rewards,
    statuses,
)

FAKE = "engine=grao_pipeline.scoring.judges.base:FakeChatModel"
GROUP = ["a", "bb", "cc", "dddd"]


@pytest.mark.slow
def test_the_win_rate_against_all_others_follows_the_ranking(server: JudgeServer) -> None:
    """The longer wins: a loses 3; bb wins 1, ties 1, loses 1; cc the same; dddd wins 3."""
    server.rule = longer_wins
    judgements = list(judge("judge-win-rate", server, "opponents=all").score(candidates(GROUP)))
    assert rewards(judgements) == [0.0, 0.5, 0.5, 1.0]
    assert [(judgement.detail or "").partition(", consistent")[0] for judgement in judgements] == [
        "won 0, tied 0, lost 3",
        "won 1, tied 1, lost 1",
        "won 1, tied 1, lost 1",
        "won 3, tied 0, lost 0",
    ]
    # Every decided pair is asked in both orders, so that the better answer is first once and second once.
    reward = judge("judge-win-rate", server, "opponents=all")
    assert dict(reward.verdicts(judgements[1])) == {
        "win": 1, "tie": 1, "loss": 1, "consistent": 3, "first": 2, "second": 2
    }  # fmt: skip


def test_a_pair_that_meets_from_both_sides_is_asked_about_once(server: JudgeServer) -> None:
    """Four samples are six pairs, in two orders: twelve questions, not 24; the first to meet pays."""
    server.rule = longer_wins
    judgements = list(judge("judge-win-rate", server, "opponents=all").score(candidates(GROUP)))
    assert len(server.requests) == 12
    assert [judgement.tokens for judgement in judgements] == [6 * 107, 4 * 107, 2 * 107, 0]


@pytest.mark.slow
def test_a_judge_that_always_says_a_makes_all_samples_equal(server: JudgeServer) -> None:
    server.rule = first_wins
    assert rewards(list(judge("judge-win-rate", server).score(candidates(GROUP)))) == [0.5] * 4


@pytest.mark.slow
@pytest.mark.parametrize("swap", ["true", "false"])
def test_every_sample_meets_the_same_number_of_others_every_time(server: JudgeServer, swap: str) -> None:
    server.rule = longer_wins
    group = [letter * length for length, letter in enumerate("abcdefgh", start=1)]
    reward = judge("judge-win-rate", server, "opponents=3", f"swap={swap}")
    judgements = list(reward.score(candidates(group)))
    assert all(judgement.reward in {0.0, 1 / 3, 2 / 3, 1.0} for judgement in judgements)
    assert rewards(judgements)[0] == 0.0  # the shortest never wins, the longest always does, whomever they meet
    assert rewards(judgements)[-1] == 1.0
    again = judge("judge-win-rate", server, "opponents=3", f"swap={swap}")
    assert rewards(list(again.score(candidates(group)))) == rewards(judgements)
    reordered = list(reward.score(candidates(group[::-1])))
    assert rewards(reordered) == rewards(judgements)[::-1]


@pytest.mark.slow
def test_where_a_meets_b_b_tends_to_meet_a(server: JudgeServer) -> None:
    """One opponent each for three samples: the pair with the smallest hash chooses itself, so two pairs meet at most.
    Were the choices independent, three would meet in a quarter of the groups.
    """
    server.rule = longer_wins
    reward = judge("judge-win-rate", server, "opponents=1", "swap=false")
    for group in range(20):
        server.requests.clear()
        list(reward.score(candidates([f"{group}-{letter}" for letter in "abc"])))
        assert len(server.requests) <= 2


@pytest.mark.slow
def test_a_small_group_meets_all_others(server: JudgeServer) -> None:
    server.rule = longer_wins
    assert rewards(list(judge("judge-win-rate", server, "opponents=9").score(candidates(GROUP)))) == [0, 0.5, 0.5, 1]


def test_identical_samples_tie_without_a_question(server: JudgeServer) -> None:
    """Of three others, two are the same text: two ties and a loss make (0.5 + 0.5 + 0) / 3."""
    server.rule = longer_wins
    judgements = list(judge("judge-win-rate", server, "opponents=all").score(candidates(["a", "a", "a", "bb"])))
    assert rewards(judgements) == [pytest.approx(1 / 3)] * 3 + [1.0]
    assert len(server.requests) == 2


@pytest.mark.slow
def test_the_reference_is_compared_with_samples_likewise(server: JudgeServer) -> None:
    """Three characters: longer than a, bb and cc, shorter than dddd."""
    server.rule = longer_wins
    reference = Candidate(QUESTION, "ref", "ref", {}, tuple(GROUP))
    assert rewards(list(judge("judge-win-rate", server, "opponents=4").score([reference]))) == [0.75]


def test_a_group_of_one_has_no_reward(server: JudgeServer) -> None:
    judgements = list(judge("judge-win-rate", server).score(candidates(["a"])))
    assert (rewards(judgements), statuses(judgements)) == ([None], ["error"])
    assert judgements[0].detail == "its group has no other sample to compare it with"


@pytest.mark.slow
def test_a_failed_comparison_is_reported_and_not_counted(server: JudgeServer) -> None:
    """With bb as A there is no verdict: a has lost to cc and dddd, bb has tied with cc and lost to dddd."""

    def rule(blocks: dict[str, str]) -> Answer:
        failed = (blocks["answer A"], blocks["answer B"]) == ("bb", "a")
        return Answer("?") if failed else longer_wins(blocks)

    server.rule = rule
    judgements = list(judge("judge-win-rate", server, "opponents=all").score(candidates(GROUP)))
    assert rewards(judgements) == [0.0, 0.25, 0.5, 1.0]
    assert judgements[0].detail == "won 0, tied 0, lost 2, consistent 2, first 2, second 2; not compared 1: ?"
    assert judgements[1].detail == "won 0, tied 1, lost 1, consistent 2, first 1, second 1; not compared 1: ?"


@pytest.mark.slow
def test_a_sample_without_any_comparison_has_no_reward(server: JudgeServer) -> None:
    def rule(blocks: dict[str, str]) -> Answer:
        too_long = "dddd" in blocks.values()
        return Answer(status=400, error="too long") if too_long else longer_wins(blocks)

    server.rule = rule
    judgements = list(judge("judge-win-rate", server, "opponents=all").score(candidates(GROUP)))
    assert rewards(judgements) == [0.0, 0.75, 0.75, None]
    assert statuses(judgements) == ["ok", "ok", "ok", "error"]
    assert judgements[3].detail == "the server refuses the question (status 400): too long"


def test_it_declares_that_it_reads_the_group() -> None:
    reward = make_reward(ScoreOptions(reward="judge-win-rate", reward_arg=[FAKE]))
    assert reward.reads_group
    assert not make_reward(ScoreOptions(reward="judge-pairwise", reward_arg=[FAKE])).reads_group


@pytest.mark.parametrize("value", ["0", "none", "-1", "2.5"])
def test_opponents_is_a_number_or_all(value: str) -> None:
    with pytest.raises(UsageError, match=f"opponents={value}: input should be .* \\(reward 'judge-win-rate'\\)"):
        make_reward(ScoreOptions(reward="judge-win-rate", reward_arg=[FAKE, f"opponents={value}"]))


def test_identity_changes_with_the_number_of_opponents() -> None:
    def identity(*arguments: str) -> object:
        return make_reward(ScoreOptions(reward="judge-win-rate", reward_arg=[FAKE, *arguments])).identity()

    assert identity("opponents=4") == identity()
    assert identity("opponents=all") != identity() != identity("opponents=3")
