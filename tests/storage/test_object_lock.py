"""The lock on a directory of an object store: lost answers, paused holders, and several that take it over."""

import json
import os
import signal
import socket
import time
from pathlib import Path
from types import FrameType

import pytest

from grao_pipeline.errors import StageFailure
from grao_pipeline.storage import object_lock
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.object_lock import ObjectLock


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Directory:
    monkeypatch.setattr(object_lock, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(object_lock, "RENEWAL_SECONDS", 0.02)
    return Directory(f"memory://{tmp_path.name}")


def lock(directory: Directory) -> ObjectLock:
    return ObjectLock(directory, "lock", "being run")


def written_by(process: int, host: str = "elsewhere", renewed: float | None = None) -> bytes:
    """The lock of another process."""
    holder = {"process": process, "host": host, "mark": "of another", "renewed": renewed or time.time()}
    return json.dumps(holder).encode()


def test_one_holds_it_and_the_next_one_after_its_release(directory: Directory) -> None:
    message = f"is being run by {os.getpid()} on .*Wait for it, or stop it"
    with lock(directory), pytest.raises(StageFailure, match=message):
        lock(directory)
    with lock(directory):
        assert json.loads(directory.read("lock"))["process"] == os.getpid()
    assert not directory.exists("lock")


def test_a_lock_whose_creation_was_not_answered_is_ours(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver asks again, and is told that the object exists."""
    create = Directory.create

    def answered_late(self: Directory, name: str, data: bytes) -> bool:
        return create(self, name, data) and create(self, name, data)

    monkeypatch.setattr(Directory, "create", answered_late)
    with lock(directory):
        pass
    assert not directory.exists("lock")


@pytest.mark.parametrize("minutes", [1, 3])
def test_a_lock_is_taken_over_when_its_holder_gave_no_sign_of_life(directory: Directory, minutes: int) -> None:
    directory.write("lock", written_by(1, renewed=time.time() - 60 * minutes))
    if minutes == 1:
        with pytest.raises(StageFailure, match="by 1 on elsewhere"):
            lock(directory)
        return
    with lock(directory):
        assert json.loads(directory.read("lock"))["host"] == socket.gethostname()


def test_of_two_that_take_a_lock_over_the_last_one_has_it(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.write("lock", written_by(1, renewed=0.1))
    monkeypatch.setattr("time.sleep", lambda seconds: directory.write("lock", written_by(2)))
    with pytest.raises(StageFailure, match="by 2 on elsewhere"):
        lock(directory)
    assert directory.read("lock") == written_by(2, renewed=json.loads(directory.read("lock"))["renewed"])


def test_a_holder_that_was_paused_stops_and_leaves_its_successor_alone(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)

    monkeypatch.setattr(object_lock, "STALE_SECONDS", 1)
    previous = signal.signal(signal.SIGTERM, receive)
    try:
        with lock(directory):
            successor = written_by(2)
            directory.write("lock", successor)
            end = time.monotonic() + 30
            while not received and time.monotonic() < end:
                time.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert received == [signal.SIGTERM]
    assert directory.read("lock") == successor
    assert "2 on elsewhere has taken" in capsys.readouterr().err
