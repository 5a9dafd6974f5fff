"""Steps of texts: from a reward through the cache and the scores to the weights of tokens."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from grao_pipeline.advantages.compute import compute_advantages
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.scoring.cache import JudgementCache
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import FakeReward, Judgement
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.scoring.shared_cache import SharedJudgements
from grao_pipeline.scoring.steps import Step
from grao_pipeline.storage.reader import open_table
from tests import tiny

KEY = f"{1:032x}"
STEPPED = Judgement(0.5, "ok", "fine", 3, (Step(2, 1.0, "s"), Step(5)))


def test_steps_are_read_in_every_form() -> None:
    steps = (Step(1, 0.5), Step(3, None, "room"))
    for given in ([(1, 0.5), (3, None, "room")], [{"end": 1, "reward": 0.5}, {"end": 3, "state": "room"}], steps):
        assert Judgement.of(1, steps=given).steps == steps


def test_numbers_of_steps_may_be_those_of_numpy_and_torch() -> None:
    given = [(np.int64(1), np.float32(0.5)), (torch.tensor(3), torch.tensor(0.25))]
    assert Judgement.of(np.float32(1), steps=given).steps == (Step(1, 0.5), Step(3, 0.25))


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([(3, 1.0), (2, 1.0)], "step 1 ends at character 2, before 3"),
        ([(-1, 1.0)], "step 0 ends at character -1, before 0"),
        ([(1.5, 1.0)], "a step ends at a whole number"),
        ([(True, 1.0)], "a step ends at a whole number"),
        ([(1, float("nan"))], "finite reward"),
        ([(1, 10**400)], "finite reward"),
        ([{"end": 1, "score": 1}], "a step has the keys end, reward and state"),
        ("abc", "steps must be a list"),
        ([7], "a step is"),
    ],
)
def test_wrong_steps_are_an_error_of_their_sequence(steps: Any, problem: str) -> None:
    judgement = Judgement.of(1, steps=steps)
    assert judgement.status == "error"
    assert problem in str(judgement.detail)


@pytest.mark.parametrize("kind", [JudgementCache, SharedJudgements])
def test_a_cache_keeps_steps(tmp_path: Path, kind: Any) -> None:
    place = str(tmp_path / "cache")
    cache = kind(place)
    cache.add("f" * 32, "name", [(KEY, STEPPED)])
    cache.close()
    assert kind(place).find("f" * 32, [KEY]) == [STEPPED]


def test_a_cache_from_before_there_were_steps_is_read_and_extended(tmp_path: Path) -> None:
    place = tmp_path / "cache.sqlite"
    JudgementCache(place).add("f" * 32, "name", [(KEY, Judgement(0.25, "ok", "old"))])
    connection = sqlite3.connect(place)
    connection.execute("ALTER TABLE judgements DROP COLUMN steps")
    connection.close()
    cache = JudgementCache(place)
    assert cache.find("f" * 32, [KEY]) == [Judgement(0.25, "ok", "old")]
    cache.add("f" * 32, "name", [(f"{2:032x}", STEPPED)])
    assert cache.find("f" * 32, [f"{2:032x}"]) == [STEPPED]
    assert (cache.damaged, cache.info()[0].damaged) == (0, 0)


def test_a_shared_cache_from_before_there_were_steps_is_read(tmp_path: Path) -> None:
    cache = SharedJudgements(str(tmp_path))
    cache.add("f" * 32, "name", [(KEY, Judgement(0.25, "ok", "old"))])
    cache.close()
    (file,) = (tmp_path / ("f" * 32)).glob("*.parquet")
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["steps"]), file)
    again = SharedJudgements(str(tmp_path))
    assert again.find("f" * 32, [KEY]) == [Judgement(0.25, "ok", "old")]
    assert again.damaged == 0


class Words(FakeReward):
    """A step for each word, its reward the word's length; counts what it was asked."""

    def score(self, candidates: Any) -> Any:
        self.num_scored += len(candidates)
        for candidate in candidates:
            text, steps, end = candidate.completion, [], 0
            for word in text.split(" "):
                end += len(word) + 1
                steps.append((min(end, len(text)), len(word)))
            yield Judgement.of(len(steps), steps=steps)


def scored(tmp_path: Path, row: dict[str, Any], reward: FakeReward, **options: Any) -> tuple[dict[str, Any], Any]:
    groups = tiny.write_table(tmp_path / "groups", "groups", [row])
    options = {"reward": "fake", "use_cache": False, **options}
    summary = score_groups(groups, str(tmp_path / "scores"), ScoreOptions(**options), reward=reward)
    return open_table(str(tmp_path / "scores"), "scores").arrow().to_pylist()[0], summary


def test_steps_are_in_characters_of_the_whole_completion(tmp_path: Path) -> None:
    """The reward sees the answer, which begins at character 20."""
    thought = "<think>\nhm\n</think>\n"
    row, summary = scored(tmp_path, tiny.group_row("q", [f"{thought}ab c", "de"]), Words())
    assert [[step["end"] for step in steps] for steps in row["steps"]] == [[23, 24], [2]]
    assert [step["reward"] for step in row["steps"][0]] == [2.0, 1.0]
    assert summary.steps_left_out == 0


def test_steps_of_an_answer_in_pieces_have_no_place_and_are_counted(tmp_path: Path) -> None:
    text = "one\n<think>\nhm\n</think>\ntwo"
    row, summary = scored(tmp_path, tiny.group_row("q", [f"<think>\na\n</think>\n{text}", "de"]), Words())
    assert [steps is None for steps in row["steps"]] == [True, False]
    assert summary.steps_left_out == 1
    assert any("--score-on all" in note for note in summary.notes)


def test_a_step_behind_the_end_of_the_text_is_an_error(tmp_path: Path) -> None:
    class Beyond(FakeReward):
        def score(self, candidates: Any) -> Any:
            return [Judgement.of(1, steps=[(3, 1)]) for candidate in candidates]

    row, _ = scored(tmp_path, tiny.group_row("q", ["abc", "de"]), Beyond())
    assert row["statuses"] == ["ok", "error"]
    assert row["details"][1] == "a step ends at character 3; the text has 2"


def test_a_function_gives_steps_and_what_is_retried_keeps_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_steps.py").write_text(
        "from pathlib import Path\n"
        "def first(completions):\n"
        "    for text in completions:\n"
        "        if text == 'bad' and not Path('mended').exists():\n"
        "            raise ValueError('not yet')\n"
        "    return [(len(text), [(1, 0.5), (len(text), 1, 'end')]) for text in completions]\n"
    )
    groups = tiny.write_table(tmp_path / "groups", "groups", [tiny.group_row("q", ["<think>\n</think>\nab", "bad"])])
    command = ("score", groups, tmp_path / "scores", "--reward", "own_steps.py:first", "--no-use-cache")
    tiny.grao_json(*command)
    before = open_table(str(tmp_path / "scores"), "scores").arrow().to_pylist()[0]
    assert before["steps"][1] is None
    Path("mended").touch()
    tiny.grao_json(*command, "--retry-errors")
    after = open_table(str(tmp_path / "scores"), "scores").arrow().to_pylist()[0]
    assert after["statuses"] == ["ok", "ok"]
    assert after["steps"][0] == before["steps"][0]
    assert [step["end"] for step in after["steps"][0]] == [18, 19]
    assert after["steps"][1] == [
        {"end": 1, "reward": 0.5, "state": None},
        {"end": 3, "reward": 1.0, "state": "end"},
    ]


def test_items_of_lists_get_advantages_of_their_own(tmp_path: Path) -> None:
    """Rank-GRPO from the reward to the weights: hits (1, 0) and (0, 1) at two places are ±0.707007 for their tokens."""
    row = tiny.group_row("q", ["ab\nx", "x\nab"], token_ids=[[5, 6, 7], [8, 9]])
    row |= {"metadata": '{"items": ["ab", "cd"]}', "completion_token_ends": [[2, 3, 4], [2, 4]]}
    groups = tiny.write_table(tmp_path / "groups", "groups", [row])
    tiny.grao_json("score", groups, tmp_path / "lists", "--reward", "list-items", "--no-use-cache")
    options = AdvantagesOptions(
        scores=[WeightedScores(url=str(tmp_path / "lists"))],
        feature=[f"lists={tmp_path / 'lists'}"],
        token_weights=["items"],
        token_weights_arg=["items.scores=lists"],
        estimator="dr-grpo",
        statistics="samples",
    )
    compute_advantages(groups, str(tmp_path / "out"), options)
    (table,) = open_table(str(tmp_path / "out"), "advantages").arrow().to_pylist()
    assert table["advantages"] == pytest.approx([0.707007, 0.707007], abs=1e-6)
    assert table["token_weights"] == [pytest.approx([1, 1, -1]), pytest.approx([-1, 1])]


def test_a_table_without_steps_has_none(tmp_path: Path) -> None:
    row, _ = scored(tmp_path, tiny.group_row("q", ["a", "b"]), FakeReward())
    assert row["steps"] is None
