"""The judgement cache: every sequence is judged once, across parts, tables, rounds and processes."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.errors import InputError
from grao_pipeline.scoring.cache import JudgementCache
from grao_pipeline.scoring.judgements import with_fingerprints
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, FakeReward, Judgement
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.scoring.summary import ScoreSummary
from grao_pipeline.storage.reader import open_table
from tests import tiny

MESSAGES = [{"role": "user", "content": "q"}]


def fingerprint_of(number: int) -> str:
    return f"{number:032x}"


def write_groups(path: Path, completions: Sequence[Sequence[str]], policy: str = "p" * 32) -> str:
    rows = [
        tiny.group_row(f"question {index}", texts, reference=f"reference {index}", policy=policy)
        for index, texts in enumerate(completions)
    ]
    return tiny.write_table(path, "groups", rows, rows_per_part=2)


def score(groups: str, out: Path, reward: FakeReward, **options: Any) -> ScoreSummary:
    return score_groups(groups, str(out), ScoreOptions(reward="fake", **options), reward=reward)


def test_a_judgement_is_found_again_as_it_was(tmp_path: Path) -> None:
    cache = JudgementCache(tmp_path / "deep" / "cache.sqlite")
    judged = [
        (fingerprint_of(1), Judgement(0.1, "ok", "fine", 12)),
        (fingerprint_of(2), Judgement(None, "unparsable", "??", 3)),
        (fingerprint_of(3), Judgement(None, "truncated")),
    ]
    cache.add("reward", "name", judged)
    cache.close()
    again = JudgementCache(tmp_path / "deep" / "cache.sqlite")
    assert again.find("reward", [fingerprint_of(n) for n in (3, 1, 4, 2)]) == [
        Judgement(None, "truncated"),
        Judgement(0.1, "ok", "fine", 12),
        None,
        Judgement(None, "unparsable", "??", 3),
    ]
    assert again.find("another reward", [fingerprint_of(1)]) == [None]


def test_an_error_is_not_stored(tmp_path: Path) -> None:
    cache = JudgementCache(tmp_path / "cache.sqlite")
    cache.add("reward", "name", [(fingerprint_of(1), Judgement(None, "error", "no connection"))])
    assert cache.find("reward", [fingerprint_of(1)]) == [None]
    assert cache.info() == []


def test_every_sequence_is_judged_once(tmp_path: Path) -> None:
    """Six samples of which two are equal to another, three references: seven sequences to be judged."""
    groups = write_groups(tmp_path / "groups", [["a", "a"], ["b", "c"], ["d", "reference 2"]])
    reward = FakeReward()
    summary = score(groups, tmp_path / "scores", reward)
    assert (reward.num_scored, summary.cache_misses, summary.cache_hits) == (7, 7, 2)
    rows = open_table(str(tmp_path / "scores"), "scores").arrow().to_pylist()
    assert [row["rewards"] for row in rows] == [[1.0, 1.0], [1.0, 1.0], [1.0, 11.0]]
    assert [row["reference_reward"] for row in rows] == [11.0, 11.0, 11.0]


def test_scoring_into_another_directory_uses_the_cache(tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups", [["a", "bb"], ["ccc", "dddd"]])
    score(groups, tmp_path / "first", FakeReward())
    reward = FakeReward()
    summary = score(groups, tmp_path / "second", reward, name="other")
    assert (reward.num_scored, summary.cache_hits, summary.cache_misses) == (0, 6, 0)
    first, second = (open_table(str(tmp_path / name), "scores").arrow() for name in ("first", "second"))
    assert first.equals(second)


def test_a_second_round_only_judges_its_new_samples(tmp_path: Path) -> None:
    score(write_groups(tmp_path / "0", [["a", "bb"], ["ccc", "dddd"]]), tmp_path / "scores-0", FakeReward())
    second = write_groups(tmp_path / "1", [["a", "eeeee"], ["f", "gg"]], policy="q" * 32)
    reward = FakeReward()
    summary = score(second, tmp_path / "scores-1", reward)
    assert (reward.num_scored, summary.cache_hits) == (3, 3)  # eeeee, f, gg; known: a and both references


def candidate_fingerprint(candidate: Candidate, reads_group: bool) -> str:
    ((fingerprint, _),) = with_fingerprints([candidate], reads_group)
    return fingerprint


def test_the_fingerprint_covers_what_the_reward_sees() -> None:
    candidate = Candidate(MESSAGES, "text", "reference", {"answer": "1"}, ("other",))
    same = Candidate([{"content": "q", "role": "user"}], "text", "reference", {"answer": "1"}, ["another"])
    assert candidate_fingerprint(candidate, False) == candidate_fingerprint(same, False)
    assert candidate_fingerprint(candidate, True) != candidate_fingerprint(same, True)
    for changed in (
        Candidate([{"role": "user", "content": "p"}], "text", "reference", {"answer": "1"}),
        Candidate(MESSAGES, "text2", "reference", {"answer": "1"}),
        Candidate(MESSAGES, "text", None, {"answer": "1"}),
        Candidate(MESSAGES, "text", "reference", {"answer": "2"}),
    ):
        assert candidate_fingerprint(candidate, False) != candidate_fingerprint(changed, False)


@given(st.lists(st.tuples(st.text(), st.none() | st.text()), min_size=2, max_size=2, unique=True))
def test_different_texts_have_different_fingerprints(pairs: list[tuple[str, str | None]]) -> None:
    first, second = (Candidate(MESSAGES, completion, reference, {}) for completion, reference in pairs)
    assert candidate_fingerprint(first, False) != candidate_fingerprint(second, False)


class Expensive(FakeReward):
    """Spends ten tokens per judgement, and fails after a number of judgements."""

    def __init__(self, fails_after: int = 1_000) -> None:
        super().__init__()
        self._fails_after = fails_after

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        for candidate in candidates:
            if self.num_scored == self._fails_after:
                raise KeyboardInterrupt
            self.num_scored += 1
            yield Judgement(float(len(candidate.completion)), tokens=10)


def test_tokens_spent_and_saved_are_counted(tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups", [["a", "bb", "a"]])
    first, second = (score(groups, tmp_path / name, Expensive()) for name in ("first", "second"))
    assert (first.tokens_spent, first.tokens_saved) == (30, 10)
    assert (second.tokens_spent, second.tokens_saved) == (0, 40)


def test_judgements_before_an_interruption_are_not_repeated(tmp_path: Path) -> None:
    """One part of 99 samples and a reference; sixteen judgements a write, so at most 15 are lost."""
    groups = write_groups(tmp_path / "groups", [[f"sample {index}" for index in range(99)]])
    with pytest.raises(KeyboardInterrupt):
        score(groups, tmp_path / "scores", Expensive(fails_after=70))
    reward = Expensive()
    score(groups, tmp_path / "scores", reward)
    assert reward.num_scored == 100 - 64


def test_without_the_cache_every_run_judges_again(tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups", [["a", "bb"]])
    for name in ("first", "second"):
        reward = FakeReward()
        summary = score(groups, tmp_path / name, reward, use_cache=False)
        assert (reward.num_scored, summary.cache_misses) == (3, 3)


class OfTheGroup(FakeReward):
    """The share of the other samples that are shorter."""

    reads_group = True

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        self.num_scored += len(candidates)
        return [
            Judgement(sum(len(other) < len(c.completion) for other in c.others) / max(len(c.others), 1))
            for c in candidates
        ]


def test_a_reward_that_reads_the_group_is_cached_per_group(
    tmp_path: Path,
) -> None:
    groups = write_groups(tmp_path / "0", [["a", "bb", "ccc"]])
    score(groups, tmp_path / "scores-0", OfTheGroup())
    rows = open_table(str(tmp_path / "scores-0"), "scores").arrow().to_pylist()
    assert rows[0]["rewards"] == [0.0, 0.5, 1.0]
    assert rows[0]["reference_reward"] == 1.0  # longer than all three samples
    other = OfTheGroup()
    score(write_groups(tmp_path / "1", [["a", "bb", "dddd"]]), tmp_path / "scores-1", other)
    assert other.num_scored == 4


@pytest.mark.slow
def test_two_processes_may_share_it(tmp_path: Path) -> None:
    """Four writers of 200 judgements each, half of them in common."""
    code = """
import sys
from grao_pipeline.scoring.cache import JudgementCache
from grao_pipeline.scoring.rewards.base import Judgement
cache, first = JudgementCache(sys.argv[1]), int(sys.argv[2])
for number in range(first, first + 200):
    cache.add("reward", "name", [(f"{number:032x}", Judgement(float(number)))])
"""
    path = tmp_path / "cache.sqlite"
    command = [sys.executable, "-c", code, str(path)]
    processes = [subprocess.Popen([*command, str(first)]) for first in (0, 100, 200, 300)]
    assert [process.wait(120) for process in processes] == [0, 0, 0, 0]
    cache = JudgementCache(path)
    judgements = cache.find("reward", [fingerprint_of(number) for number in range(500)])
    assert [judgement.reward for judgement in judgements if judgement is not None] == [float(n) for n in range(500)]
    assert cache.info()[0].judgements == 500


def test_a_file_that_is_not_a_cache_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "cache.sqlite").write_text("not a database, " * 100)
    with pytest.raises(InputError, match=r"cache\.sqlite cannot be used: file is not a database"):
        JudgementCache(tmp_path / "cache.sqlite")


def test_the_cache_of_who_has_judged_nothing_yet_is_empty() -> None:
    """That of this test is; one that is named must be there."""
    summary = tiny.grao_json("cache", "info")
    assert summary["rewards"] == []
    assert tiny.grao_json("cache", "prune", "--unused-days", 0)["deleted"] == 0
    assert tiny.grao("cache", "info", "--cache", "no/such/cache.sqlite").exit_code == 1


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Three judgements of one reward, one unparsable; one of another."""
    cache = JudgementCache(tmp_path / "cache.sqlite")
    kept = [(fingerprint_of(n), Judgement(1.0, tokens=5)) for n in (1, 2)]
    cache.add("a" * 32, "helpful", [*kept, (fingerprint_of(3), Judgement(None, "unparsable", "?", 7))])
    cache.add("b" * 32, "gsm8k", [(fingerprint_of(1), Judgement(0.0))])
    cache.close()
    return tmp_path / "cache.sqlite"


def test_info_shows_what_it_holds_by_reward(filled: Path) -> None:
    summary = tiny.grao_json("cache", "info", "--cache", filled)
    assert summary["path"] == str(filled)
    assert summary["bytes"] == filled.stat().st_size
    lines = [(line["reward"], line["name"], line["judgements"], line["tokens"]) for line in summary["rewards"]]
    assert lines == [("a" * 32, "helpful", 3, 17), ("b" * 32, "gsm8k", 1, 0)]
    assert "helpful" in tiny.grao("cache", "info", "--cache", filled).stdout


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--reward", "helpful"], [("gsm8k", 1)]),
        (["--reward", "b" * 32], [("helpful", 3)]),
        (["--status", "unparsable"], [("helpful", 2), ("gsm8k", 1)]),
        (["--reward", "gsm8k", "--status", "unparsable"], [("helpful", 3), ("gsm8k", 1)]),
        (["--unused-days", 0], []),
        (["--unused-days", 1], [("helpful", 3), ("gsm8k", 1)]),
    ],
)
def test_prune_deletes_what_meets_every_condition(
    arguments: list[object], left: list[tuple[str, int]], filled: Path
) -> None:
    deleted = tiny.grao_json("cache", "prune", "--cache", filled, *arguments)["deleted"]
    lines = JudgementCache(filled).info()
    assert [(line.name, line.judgements) for line in lines] == left
    assert deleted == 4 - sum(line.judgements for line in lines)


def test_a_dry_run_of_prune_counts_and_deletes_nothing(filled: Path) -> None:
    arguments = ["cache", "prune", "--cache", filled, "--unused-days", "0"]
    counted = tiny.grao_json(*arguments, "--dry-run")["deleted"]
    assert counted == tiny.grao_json(*arguments)["deleted"] > 0


@pytest.mark.parametrize("command", [["info"], ["prune", "--unused-days", "0"]])
def test_a_cache_that_does_not_exist_is_not_made(tmp_path: Path, command: list[str]) -> None:
    result = tiny.grao("cache", *command, "--cache", tmp_path / "none.sqlite")
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "There is no judgement cache at" in result.stderr


def test_prune_without_a_condition_is_refused(filled: Path) -> None:
    result = tiny.grao("cache", "prune", "--cache", filled)
    assert result.exit_code == 2
    assert "say which judgements to delete: --unused-days (0: all), --reward or --status" in result.stderr
    assert len(JudgementCache(filled).info()) == 2
