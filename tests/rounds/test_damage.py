"""What is damaged in a store is mended or named, and never called done."""

import shutil
from pathlib import Path

import pytest

from tests import tiny
from tests.rounds.running import run
from tests.rounds.test_plan import plan, write_config


def flip(path: Path) -> bytes:
    """Change one bit; the bytes before."""
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :])
    return data


@pytest.mark.slow
def test_damaged_tables_are_to_do_and_are_mended_and_receipts_are_named(
    tmp_path: Path, model: Path, prompts: str
) -> None:
    config = write_config(tmp_path, model, prompts, rounds=1)
    everything = run(config)["made"]
    task = tmp_path / "a run" / "round-0"
    victims = [task / "generate" / "part-000001.parquet", task / "advantages" / ".manifest.parquet"]
    before = [flip(victim) for victim in victims]
    gone = task / "score-length" / "part-000002.parquet"
    before.append(gone.read_bytes())
    gone.unlink()
    mended = {"round-0/generate", "round-0/score-length", "round-0/advantages"}
    assert {name for name, planned in plan(config).items() if planned["state"] != "done"} == mended
    summary = run(config)
    assert set(summary["made"]) == mended
    assert set(summary["found"]) == set(everything) - mended
    assert [path.read_bytes() for path in (*victims, gone)] == before

    store = tmp_path / "a run" / "store"
    receipts = list(store.glob("*/*.receipt.json"))
    flip(receipts[0])
    receipts[1].write_text("[" * 5000)
    status = tiny.grao("rounds", "status", config)
    assert status.exit_code == 0
    assert [f"{receipt} is damaged" in status.stderr for receipt in receipts] == [True, True, False, False]
    assert run(config)["made"] == []


FLAKY = """
from pathlib import Path

def judge(completions):
    is_up = Path(__file__).with_name("up").exists()
    return [float(len(text)) if is_up or len(text) % 3 else float("nan") for text in completions]
"""


@pytest.mark.slow
def test_what_was_made_from_scores_that_were_mended_is_made_again(
    tmp_path: Path, model: Path, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`grao score --retry-errors` on a table of the store: advantages are computed again, the model is not replaced
    without being asked.
    """
    (tmp_path / "flaky_judge.py").write_text(FLAKY)
    monkeypatch.syspath_prepend(tmp_path)
    score = {"reward": "flaky_judge:judge", "name": "length"}
    config = write_config(tmp_path, model, prompts, rounds=1, score=score)
    run(config)
    (tmp_path / "up").touch()
    task = tmp_path / "a run" / "round-0"
    arguments = ["score", task / "generate", task / "score-length", "--reward", "flaky_judge:judge", "--name", "length"]
    assert tiny.grao_json(*arguments, "--retry-errors")["parts_rewritten"] > 0
    assert [name for name, planned in plan(config).items() if planned["state"] != "done"] == ["round-0/advantages"]
    with pytest.raises(AssertionError, match="round-0/train failed"):
        run(config)
    shutil.rmtree((task / "train").resolve())
    assert run(config)["made"] == ["round-0/train"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": {"reward": "length", "reward_arg": ["target=1"], "name": "../.."}}, "cannot name a directory"),
        ({"score": {"reward": "length", "reward_arg": ["target=1"], "name": "a/b"}}, "cannot name a directory"),
        ({"score": {"reward": "length", "reward_arg": ["target=1"], "name": "x" * 300}}, "cannot name a directory"),
    ],
)
def test_places_and_names_that_cannot_be_directories_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, tmp_path / "model", "prompts", **changes)
    for verb in ("plan", "run", "status"):
        result = tiny.grao("rounds", verb, config)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert "rounds.yaml:" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rounds.yaml"]
