"""`DirectoryLock`: one process at a time, named to the others, and free again however its holder ends."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from grao_pipeline.errors import InputError, StageFailure
from grao_pipeline.storage.locks import DirectoryLock


def hold(directory: Path, is_locked: Event) -> None:
    with DirectoryLock(directory, ".lock", "being written"):
        is_locked.set()
        signal.pause()


def test_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "out", ".lock", "being run"), pytest.raises(StageFailure) as caught:
        DirectoryLock(tmp_path / "out", ".lock", "being run")
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    assert str(caught.value) == f"{tmp_path / 'out'} is being run by {holder}. Wait for it, or stop it."


@pytest.mark.slow
def test_a_released_lock_and_that_of_a_killed_process_are_free(tmp_path: Path) -> None:
    DirectoryLock(tmp_path, ".lock", "being written").release()
    context = multiprocessing.get_context("spawn")
    is_locked = context.Event()
    process = context.Process(target=hold, args=(tmp_path, is_locked))
    process.start()
    assert is_locked.wait(60)
    with pytest.raises(StageFailure, match=f"process {process.pid} on"):
        DirectoryLock(tmp_path, ".lock", "being written")
    process.kill()
    process.join()
    DirectoryLock(tmp_path, ".lock", "being written").release()


@pytest.mark.slow
def test_a_lock_file_that_its_holder_deletes_admits_one_holder(tmp_path: Path) -> None:
    """Four threads take turns; the lock's file is deleted by every holder, as by a training that is complete."""
    inside, most, turns = 0, 0, 0

    def take_turns() -> None:
        nonlocal inside, most, turns
        done = 0
        while done < 50:
            try:
                lock = DirectoryLock(tmp_path, ".lock", "being written")
            except StageFailure:
                continue
            inside += 1
            time.sleep(0.0005)
            most = max(most, inside)
            inside -= 1
            (tmp_path / ".lock").unlink()
            lock.release()
            done += 1
            turns += 1

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 200)


def test_a_directory_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"Cannot write .*/file/\.lock: "):
        DirectoryLock(tmp_path / "file", ".lock", "being written")
