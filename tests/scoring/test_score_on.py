"""What rewards see of groups that do not say where their answers are: imported ones, and those of version 1."""

from pathlib import Path

import pytest

from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.storage.reader import open_table
from grao_pipeline.testing import write_groups


def rewards(tmp_path: Path, completion: str, reference: str = "4", **options: object) -> tuple[float, float]:
    """(of the completion, of the reference)."""
    groups = write_groups(tmp_path / "groups", {"2+2?": [completion]}, reference, answer=options.pop("answer", "4"))
    score_groups(groups, str(tmp_path / "scores"), ScoreOptions.model_validate(options))
    row = open_table(str(tmp_path / "scores"), "scores").arrow().to_pylist()[0]
    return row["rewards"][0], row["reference_reward"]


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("<think>\nmaybe it is 42", 0.0),
        ("<think>\nnot 41\n</think>\n\nThe answer is 42.", 1.0),
        ("<think>42</think>I do not know.", 0.0),
        ("it is 42, or\n</think>\n\n41", 0.0),
        ("The answer is 42.", 1.0),
    ],
)
def test_gsm8k_sees_the_answer_and_not_the_thought(completion: str, reward: float, tmp_path: Path) -> None:
    assert rewards(tmp_path, completion, reward="gsm8k", answer="42")[0] == reward


@pytest.mark.slow
def test_json_after_a_thought_is_json_and_so_is_a_references(tmp_path: Path) -> None:
    text = '<think>as an object</think>{"a": 1}'
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "required": ["a"]}')
    arguments = [f"schema_file={schema}"]
    assert rewards(tmp_path, text, text, reward="json-schema", reward_arg=arguments) == (1.0, 1.0)


def test_score_on_all_shows_the_whole_text(tmp_path: Path) -> None:
    given = {"reward": "regex", "reward_arg": ["pattern=^<think>"]}
    assert rewards(tmp_path / "all", "<think>a</think>4", "<think>a</think>4", score_on="all", **given) == (1.0, 1.0)
    assert rewards(tmp_path / "answer", "<think>a</think>4", "<think>a</think>4", **given) == (0.0, 0.0)
