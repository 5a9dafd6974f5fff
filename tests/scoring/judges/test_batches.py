"""`grao score --batch`: the rewards of direct questions, and nothing asked twice, whatever happens to a batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.scoring.judges.batches import MAX_REQUESTS, in_files
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.scoring.summary import ScoreSummary
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.commands import Command
from tests.scoring.judges.batch_server import BatchServer, batch_server
from tests.scoring.judges.common import Answer, JudgeServer, longer_wins

FAKE = "engine=grao_pipeline.scoring.judges.base:FakeChatModel"
JUDGES = ("judge-pairwise", "judge-rubric", "judge-win-rate")


@pytest.fixture
def batching() -> Iterator[BatchServer]:
    with batch_server() as running:
        yield running


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Three parts; the samples are 3, 8 and 9 characters long, the reference 4."""
    rows = [tiny.group_row(f"Question {i}?", [f"Answer {i}.", "No.", f"Well, {i}?"], "Well") for i in range(5)]
    return tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=2)


def options_for(url: str, reward: str = "judge-pairwise", batch: bool = True, **others: Any) -> ScoreOptions:
    arguments = [f"base_url={url}", "batch_poll_seconds=0.01"]
    return ScoreOptions(reward=reward, reward_arg=arguments, batch=batch, **{"use_cache": False, **others})


def rewards_of(out: Path) -> list[list[float | None]]:
    return [row["rewards"] for row in open_table(str(out), "scores").arrow().to_pylist()]


def statuses_of(out: Path) -> list[str]:
    rows = open_table(str(out), "scores").arrow().to_pylist()
    return [status for row in rows for status in row["statuses"]]


def asked_once(server: BatchServer) -> bool:
    """Whether every question was answered once, directly or in a batch."""
    asked = [str(request["messages"]) for request in server.judge.answered]
    return len(asked) == len(set(asked)) and len(server.answered) == len(set(server.answered))


def score_rule(blocks: dict[str, str]) -> Answer:
    """Of both kinds of judges: the longer answer wins, and scores its length."""
    return Answer({"score": min(10, len(blocks["the answer"]))}) if "the answer" in blocks else longer_wins(blocks)


@pytest.mark.slow
@pytest.mark.parametrize("reward", JUDGES)
def test_a_batch_gives_the_rewards_of_direct_questions(
    batching: BatchServer, server: JudgeServer, table: str, tmp_path: Path, reward: str
) -> None:
    """One batch for all parts; only the first question, which finds out what the server accepts, is asked directly."""
    batching.judge.rule = server.rule = score_rule
    direct = score_groups(table, str(tmp_path / "direct"), options_for(server.base_url, reward, batch=False))
    batch = score_groups(table, str(tmp_path / "batch"), options_for(batching.base_url, reward))
    assert rewards_of(tmp_path / "batch") == rewards_of(tmp_path / "direct")
    assert (batch.tokens_spent, batch.statuses) == (direct.tokens_spent, direct.statuses)
    assert len(batching.batches) == 1
    assert len(batching.answered) == len(server.answered) - 1
    assert asked_once(batching)
    assert not (tmp_path / "batch.batches").exists()


@pytest.mark.slow
def test_known_judgements_are_not_submitted(batching: BatchServer, table: str, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache.sqlite")
    options = options_for(batching.base_url, use_cache=True, cache=cache)
    score_groups(table, str(tmp_path / "one"), options)
    summary = score_groups(table, str(tmp_path / "two"), options)
    assert (len(batching.batches), summary.cache_misses) == (1, 0)
    assert rewards_of(tmp_path / "one") == rewards_of(tmp_path / "two")


def score_killed(table: str, out: Path, server: BatchServer) -> None:
    """Score in another process, and kill it while it waits for its batch."""
    options = ["--reward", "judge-pairwise", "--batch", "--no-use-cache"]
    options += ["--reward-arg", f"base_url={server.base_url}", "--reward-arg", "batch_poll_seconds=0.01"]
    process = Command("score", table, out, *options)
    assert server.polled.wait(timeout=120)
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_killed_run_finds_its_batch_again(batching: BatchServer, table: str, tmp_path: Path) -> None:
    batching.polls_needed = 10**9
    score_killed(table, tmp_path / "out", batching)
    batching.polls_needed = 0
    progress = RecordedProgress()
    score_groups(table, str(tmp_path / "out"), options_for(batching.base_url), progress)
    assert rewards_of(tmp_path / "out") == [[1.0, -1.0, 1.0]] * 5
    assert len(batching.batches) == 1
    assert asked_once(batching)
    assert not any("submitted" in note for note in progress.notes)


@pytest.mark.slow
def test_a_killed_run_asks_the_server_in_the_form_that_it_accepts(
    batching: BatchServer, table: str, tmp_path: Path
) -> None:
    """The batch expires after the kill; what is submitted again has no JSON schema either."""

    def refuse(request: dict[str, Any]) -> Answer | None:
        is_schema = request["response_format"]["type"] == "json_schema"
        return Answer(status=400, error="This response_format type is unavailable now") if is_schema else None

    batching.judge.refuse, batching.polls_needed = refuse, 10**9
    score_killed(table, tmp_path / "out", batching)
    batching.polls_needed, batching.answered_share = 0, 0.0
    batching.outcome = lambda number: "expired" if number == 0 else "completed"
    score_groups(table, str(tmp_path / "out"), options_for(batching.base_url))
    assert rewards_of(tmp_path / "out") == [[1.0, -1.0, 1.0]] * 5
    assert len(batching.batches) == 2
    assert asked_once(batching)
    assert len(batching.judge.requests) == len(batching.judge.answered) + 1


@pytest.mark.slow
def test_a_batch_whose_creation_was_not_answered_is_found_and_not_created_again(
    batching: BatchServer, table: str, tmp_path: Path
) -> None:
    batching.lost = ["create"]
    score_groups(table, str(tmp_path / "out"), options_for(batching.base_url))
    assert len(batching.batches) == 1
    assert asked_once(batching)


@pytest.mark.slow
def test_what_expires_is_submitted_again_and_nothing_else(batching: BatchServer, table: str, tmp_path: Path) -> None:
    batching.outcome = lambda number: "expired" if number == 0 else "completed"
    batching.answered_share = 0.5
    progress = RecordedProgress()
    score_groups(table, str(tmp_path / "out"), options_for(batching.base_url), progress)
    assert rewards_of(tmp_path / "out") == [[1.0, -1.0, 1.0]] * 5
    assert asked_once(batching)
    first, second = batching.submitted()
    assert second == first[len(first) // 2 :]
    assert progress.warnings == [
        f"Batch batch_0 (expired) left {len(second)} of {len(first)} requests unanswered; they are submitted again."
    ]


@pytest.mark.slow
def test_a_cancelled_batch_is_named_and_the_next_run_submits_the_rest(
    batching: BatchServer, table: str, tmp_path: Path
) -> None:
    batching.outcome = lambda number: "cancelled" if number == 0 else "completed"
    batching.answered_share = 0.25
    options = options_for(batching.base_url)
    with pytest.raises(StageFailure, match=r"Batch batch_0 was cancelled; \d+ of its \d+ requests were answered\. Run"):
        score_groups(table, str(tmp_path / "out"), options)
    score_groups(table, str(tmp_path / "out"), options)
    first, second = batching.submitted()
    assert second == first[len(first) // 4 :]
    assert rewards_of(tmp_path / "out") == [[1.0, -1.0, 1.0]] * 5


@pytest.mark.slow
def test_refused_requests_are_errors_and_busy_ones_are_submitted_again(
    batching: BatchServer, table: str, tmp_path: Path
) -> None:
    def fails(number: int, custom_id: str) -> tuple[int, str] | None:
        if custom_id.startswith(("0", "1", "2", "3")):
            return 400, "the prompt is too long"
        return (500, "busy") if number == 0 and custom_id.startswith(("4", "5", "6")) else None

    batching.fails = fails
    score_groups(table, str(tmp_path / "out"), options_for(batching.base_url))
    assert set(statuses_of(tmp_path / "out")) <= {"ok", "error"}
    assert len(batching.batches) <= 2
    for custom_id in ([*batching.submitted(), []])[1]:
        assert custom_id.startswith(("4", "5", "6"))
    assert asked_once(batching)


@pytest.mark.slow
def test_a_batch_that_the_server_refuses_is_named_with_the_reason(
    batching: BatchServer, table: str, tmp_path: Path
) -> None:
    batching.outcome = lambda number: "failed" if number == 0 else "completed"
    with pytest.raises(StageFailure, match=r"refuses batch batch_0: line 1 is not JSON\."):
        score_groups(table, str(tmp_path / "out"), options_for(batching.base_url))
    score_groups(table, str(tmp_path / "out"), options_for(batching.base_url))
    assert len(batching.batches) == 2


@pytest.mark.slow
def test_a_batch_that_never_succeeds_ends_in_errors(batching: BatchServer, table: str, tmp_path: Path) -> None:
    batching.judge.rule, batching.answered_share = score_rule, 0.0
    batching.outcome = lambda _: "expired"
    summary: ScoreSummary = score_groups(table, str(tmp_path / "out"), options_for(batching.base_url, "judge-rubric"))
    assert summary.statuses["error"] > 0
    assert len(batching.batches) == 3


@pytest.mark.slow
def test_a_server_without_batch_files_is_named(batching: BatchServer, table: str, tmp_path: Path) -> None:
    batching.has_batches = False
    with pytest.raises(StageFailure, match=r"/files refuses \(status 404\): Not Found\. .* leave out --batch"):
        score_groups(table, str(tmp_path / "out"), options_for(batching.base_url))


@pytest.mark.parametrize(("reward", "arguments"), [("length", ["target=3"]), ("judge-rubric", [FAKE])])
def test_a_batch_of_a_reward_without_a_server_is_wrong_usage(reward: str, arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="asks no server") as caught:
        make_reward(ScoreOptions(reward=reward, reward_arg=arguments, batch=True))
    assert caught.value.option == "batch"


@pytest.mark.slow
def test_files_hold_as_many_requests_as_the_api_allows() -> None:
    bodies: dict[str, dict[str, object]] = {f"{number}": {} for number in range(MAX_REQUESTS + 1)}
    assert [len(file) for file in in_files(bodies)] == [MAX_REQUESTS, 1]
    large = {f"{number}": {"text": "x" * 60_000_000} for number in range(4)}
    assert [len(file) for file in in_files(large)] == [3, 1]
