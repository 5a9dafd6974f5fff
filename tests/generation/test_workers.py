"""Several processes write one table without coordination."""

from pathlib import Path

import pytest

from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import PartShare
from tests import tiny

OPTIONS = ["--engine", "transformers", "--samples", 2, "--max-new-tokens", 6, "--prompts-per-part", 2]


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.mark.slow
def test_workers_make_disjoint_parts_and_the_last_one_the_manifest(model: Path, prompts: str, tmp_path: Path) -> None:
    """Ten prompts in five parts: 0 and 3, 1 and 4, and 2."""
    tiny.grao_json("generate", prompts, tmp_path / "alone", "--model", model, *OPTIONS)
    out = tmp_path / "together"
    counts = []
    for worker in ("2/3", "0/3", "1/3"):
        summary = tiny.grao_json("generate", prompts, out, "--model", model, *OPTIONS, "--worker", worker)
        counts.append((summary["parts_made"], summary["parts_left_to_other_workers"]))
    assert counts == [(1, 4), (2, 2), (2, 0)]
    assert bytes_of(out) == bytes_of(tmp_path / "alone")
    again = tiny.grao_json("generate", prompts, out, "--model", model, *OPTIONS, "--worker", "0/3")
    assert (again["parts_made"], again["parts_found"]) == (0, 5)


def test_scores_are_made_by_workers_too(groups: str, tmp_path: Path) -> None:
    tiny.grao_json("score", groups, tmp_path / "alone", "--reward", "length", "--reward-arg", "target=3")
    for worker in ("1/2", "0/2"):
        arguments = ["--reward", "length", "--reward-arg", "target=3", "--worker", worker]
        tiny.grao_json("score", groups, tmp_path / "together", *arguments)
    assert bytes_of(tmp_path / "together") == bytes_of(tmp_path / "alone")
    assert open_table(str(tmp_path / "together"), "scores").num_parts == 3


@pytest.mark.parametrize("text", ["3/3", "1", "a/b", "-1/2", "0/0", "1/2/3"])
def test_a_wrong_worker_is_refused(text: str, groups: str, tmp_path: Path) -> None:
    result = tiny.grao("score", groups, tmp_path / "out", "--reward", "gsm8k", "--worker", text)
    assert result.exit_code == 2
    assert "expected INDEX/COUNT with 0 ≤ INDEX < COUNT" in result.stderr


def test_a_workers_parts_are_every_nth() -> None:
    share = PartShare.parse("1/4")
    assert share is not None
    assert [part for part in range(10) if share.includes(part)] == [1, 5, 9]
