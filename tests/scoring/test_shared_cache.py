"""The judgement cache in a directory that several machines share."""

from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.scoring.open_cache import open_cache
from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.shared_cache import MANY_FILES, ROWS_PER_FILE, SharedJudgements
from tests import tiny
from tests.commands import Command

KEYS = [fingerprint([index]) for index in range(3)]
REWARD = fingerprint(["reward"])
COUNTED = """
from pathlib import Path

def reward(completions, log):
    with Path(log).open("a") as file:
        file.write("".join(f"{text}\\n" for text in completions))
    return [float(len(text)) for text in completions]
"""


@pytest.fixture(params=["directory", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A local directory, and an object store."""
    return f"{tmp_path}/cache/" if request.param == "directory" else f"memory://{uuid4().hex}"


def filled(place: str, *judgements: Judgement, reward: str = REWARD, name: str = "polite") -> None:
    cache = SharedJudgements(place)
    cache.add(reward, name, zip(KEYS, judgements, strict=False))
    cache.close()


def test_what_one_process_judged_others_find(place: str) -> None:
    """Rewards to the last bit, statuses, details and tokens; errors are tried again."""
    first, second = SharedJudgements(place), SharedJudgements(place)
    judgements = [Judgement(0.1, "ok", "ü", 7), Judgement(None, "unparsable"), Judgement(None, "error", "later")]
    first.add(REWARD, "polite", zip(KEYS, judgements, strict=True))
    assert first.find(REWARD, KEYS) == [*judgements[:2], None]
    assert second.find(REWARD, KEYS) == [None, None, None]
    first.close()
    assert second.find(REWARD, KEYS) == [*judgements[:2], None]
    assert second.find(fingerprint(["another"]), KEYS) == [None, None, None]
    [line] = open_cache(place, must_exist=True).info()
    assert (line.reward, line.name, line.judgements, line.tokens, line.damaged) == (REWARD, "polite", 2, 7, 0)


def test_judgements_are_written_before_the_end(place: str) -> None:
    """A crash loses at most the last few."""
    cache = SharedJudgements(place)
    keys = [fingerprint([index]) for index in range(ROWS_PER_FILE)]
    cache.add(REWARD, "polite", [(key, Judgement(1.0)) for key in keys])
    assert SharedJudgements(place).find(REWARD, keys) == [Judgement(1.0)] * ROWS_PER_FILE


@pytest.mark.slow
def test_many_files_become_one_while_another_process_reads(place: str) -> None:
    reader = SharedJudgements(place)
    for index in range(MANY_FILES + 1):
        cache = SharedJudgements(place)
        cache.add(REWARD, "polite", [(fingerprint([index]), Judgement(float(index)))])
        cache.close()
    keys = [fingerprint([index]) for index in range(MANY_FILES + 1)]
    expected = [Judgement(float(index)) for index in range(MANY_FILES + 1)]
    assert reader.find(REWARD, keys[:3]) == expected[:3]
    last = SharedJudgements(place)
    assert last.find(REWARD, keys) == expected
    last.close()
    assert reader.find(REWARD, keys) == expected
    assert SharedJudgements(place).find(REWARD, keys) == expected
    assert SharedJudgements(place).num_bytes < reader.num_bytes + 1


def test_judgements_are_deleted_by_name_and_status(place: str) -> None:
    filled(place, Judgement(1.0), Judgement(None, "unparsable"))
    filled(place, Judgement(2.0), reward=fingerprint(["other"]), name="other")
    cache = SharedJudgements(place)
    assert cache.prune(reward="polite", status="unparsable", dry_run=True) == 1
    assert cache.prune(reward="polite", status="unparsable") == 1
    assert cache.prune(unused_days=1) == 0
    assert SharedJudgements(place).find(REWARD, KEYS) == [Judgement(1.0), None, None]
    assert cache.prune(unused_days=0, reward="other") == 1
    assert [line.name for line in SharedJudgements(place).info()] == ["polite"]


def test_a_damaged_judgement_is_unknown_and_counted(tmp_path: Path) -> None:
    place = f"{tmp_path}/cache/"
    filled(place, Judgement(1.0), Judgement(2.0))
    [path] = tmp_path.glob("cache/*/*.parquet")
    table = pq.read_table(path)
    changed = table.set_column(1, "value", [[1.5, 2.0]])
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    cache = SharedJudgements(place)
    assert cache.find(REWARD, KEYS) == [None, Judgement(2.0), None]
    assert cache.damaged == 1
    assert "1 judgements in the judgement cache" in cache.remarks()[0]
    with pytest.raises(UsageError, match="the date of a damaged judgement"):
        cache.prune(unused_days=1, status="damaged")
    assert cache.prune(status="damaged") == 1
    path.parent.joinpath("broken.parquet").write_bytes(b"PAR1 and no more")
    again = SharedJudgements(place)
    assert again.find(REWARD, KEYS) == [None, Judgement(2.0), None]
    assert again.damaged == 1


def test_a_cache_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no judgement cache at .*nowhere\. Name another place"):
        open_cache(f"{tmp_path}/nowhere/", must_exist=True)
    result = tiny.grao("cache", "info", "--cache", f"{tmp_path}/nowhere/")
    assert result.exit_code == 1


def test_a_place_that_cannot_be_written_is_said_and_scoring_goes_on(groups: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = ("--reward", "length", "--reward-arg", "target=3", "--cache", f"{tmp_path}/file/cache/")
    summary = tiny.grao_json("score", groups, tmp_path / "out", *arguments)
    assert summary["statuses"] == {"ok": 40}
    assert any("cannot be written" in note for note in summary["notes"])


@pytest.mark.slow
def test_an_array_of_jobs_judges_everything_once(tmp_path: Path) -> None:
    """As a Slurm array of three runs it: one OUT, one cache, a SLURM_ARRAY_TASK_ID for each job. Then another process
    scores the same groups into another OUT, by the cache alone."""
    (tmp_path / "counted.py").write_text(COUNTED)
    rows = [tiny.group_row(str(index), [f"{index} a", f"{index} b"], f"{index} c") for index in range(12)]
    groups = tiny.write_table(tmp_path / "groups", "groups", rows, rows_per_part=2)
    reward = ("--reward", f"{tmp_path}/counted.py:reward", "--reward-arg", f"log={tmp_path}/judged")
    cache = ("--cache", f"{tmp_path}/cache/")
    together, again, alone = tmp_path / "together", tmp_path / "again", tmp_path / "alone"
    jobs = [Command("score", groups, together, *reward, *cache, "--worker", f"{task}/3") for task in range(3)]
    ends = [job.communicate() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], ends
    judged = (tmp_path / "judged").read_text().splitlines()
    assert sorted(judged) == sorted(f"{index} {letter}" for index in range(12) for letter in "abc")
    assert tiny.grao_json("score", groups, again, *reward, *cache)["cache_misses"] == 0
    assert (tmp_path / "judged").read_text().splitlines() == judged
    tiny.grao_json("score", groups, alone, *reward, "--no-use-cache")
    expected = {path.name: path.read_bytes() for path in alone.iterdir()}
    for out in (together, again):
        assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
