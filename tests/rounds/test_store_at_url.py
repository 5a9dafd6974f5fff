"""Rounds whose output and store are at a URL: a real S3 API on this machine."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grao_pipeline.errors import StageFailure
from grao_pipeline.storage import object_lock
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.object_lock import ObjectLock
from grao_pipeline.storage.places import Url, place_of
from tests.commands import Command
from tests.rounds.running import run
from tests.rounds.test_plan import write_config
from tests.s3_server import s3_server

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto")
PATIENCE = 180.0


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server("bucket") as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield "s3://bucket"
        s3fs.S3FileSystem.clear_instance_cache()


def files_of(directory: Directory) -> dict[str, bytes]:
    """The content of a directory's files: of tables all, of models the weights."""
    names = [name for name in directory.names() if name.endswith((".parquet", ".safetensors"))]
    return {name: directory.read(name) for name in names}


@pytest.mark.slow
def test_a_run_in_an_object_store_is_killed_and_resumed(bucket: str, tmp_path: Path, model: Path, prompts: str) -> None:
    """It ends in the bytes of a run on a disk; what was finished is not made twice, and links are objects."""
    config = write_config(tmp_path, model, prompts, rounds=1, output=f"{bucket}/run")
    store = Url(f"{bucket}/run/store")
    command = Command("rounds", "run", config)
    end = time.monotonic() + PATIENCE
    while not any(".receipt." in name for name in Directory(store / "generate").names()):
        assert command.poll() is None, command.written("stderr")
        assert time.monotonic() < end
        time.sleep(0.1)
    command.kill()
    command.wait()
    assert Directory(f"{bucket}/run").exists("lock")
    resumed = run(config)
    assert "round-0/generate" in resumed["found"]
    assert "round-0/train" in resumed["made"]
    assert not Directory(f"{bucket}/run").exists("lock")
    (tmp_path / "disk").mkdir()
    run(write_config(tmp_path / "disk", model, prompts, rounds=1, output=str(tmp_path / "disk" / "run")))
    on_disk = tmp_path / "disk" / "run" / "store"
    for stage in ("generate", "score", "advantages", "train"):
        for table in Directory(store / stage).folders():
            files = files_of(Directory(store / stage / table))
            assert files == files_of(Directory(on_disk / stage / table))
            assert files
    link = Directory(f"{bucket}/run/round-0").read("train.link").decode().strip()
    assert link in [f"{store}/train/{name}" for name in Directory(store / "train").folders()]
    assert run(config)["made"] == []


def test_a_lock_at_a_url_keeps_others_out_until_its_holder_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Directory("memory://lock-of-the-tests")
    with ObjectLock(directory, "lock", "being run"):
        with pytest.raises(StageFailure, match=r"memory://lock-of-the-tests is being run by \d+ on .* 120 seconds\."):
            ObjectLock(directory, "lock", "being run")
        assert directory.exists("lock")
        monkeypatch.setattr(object_lock, "STALE_SECONDS", -1.0)
        successor = ObjectLock(directory, "lock", "being run")
    assert directory.exists("lock")  # the successor's
    successor.release()
    assert not directory.exists("lock")


def test_a_place_at_a_url_is_put_together_like_a_path() -> None:
    place = place_of("s3://bucket/runs/")
    assert str(place / "store" / "train") == "s3://bucket/runs/store/train"
    assert ((place / "store").name, str((place / "store").parent)) == ("store", "s3://bucket/runs")
    assert place_of("runs/store") == Path("runs/store")
