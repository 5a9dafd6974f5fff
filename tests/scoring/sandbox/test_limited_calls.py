"""`LimitedCalls`: values in order, and calls that fail, die, or exceed their limits."""

from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.scoring.sandbox.limited_calls import CallFailed, LimitedCalls

FUNCTIONS = """
import os, sys, time

def work(kind, value=0):
    if kind == "double":
        return 2 * value
    if kind == "print":
        print("a line on standard output")
        return value
    if kind == "fail":
        raise ValueError("no " + value)
    if kind == "die":
        os._exit(3)
    if kind == "sleep":
        time.sleep(1000)
    if kind == "count":
        while True:
            value += 1
    if kind == "fill":
        return len(bytearray(value))
    if kind == "process":
        return os.getpid()
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "functions_to_call.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "functions_to_call:work"


def test_values_keep_the_order_of_the_requests(target: str) -> None:
    calls = LimitedCalls(target, num_workers=3, seconds=10, memory_mib=1024)
    assert list(calls.map({"kind": "double", "value": n} for n in range(50))) == [2 * n for n in range(50)]


@pytest.mark.slow
def test_a_failed_call_says_why_and_the_next_succeeds(target: str) -> None:
    calls = LimitedCalls(target, num_workers=1, seconds=1, memory_mib=512)
    requests: list[dict[str, Any]] = [
        {"kind": "print", "value": 1},
        {"kind": "fail", "value": "luck"},
        {"kind": "die"},
        {"kind": "count"},
        {"kind": "sleep"},
        {"kind": "fill", "value": 2**40},
        {"unknown": 1},
        {"kind": "double", "value": 4},
    ]
    values = list(calls.map(requests))
    assert values[0] == 1
    assert values[1:6] == [
        CallFailed("ValueError: no luck"),
        CallFailed("the worker process ended with exit code 3"),
        CallFailed("no result within 1 s"),
        CallFailed("no result within 1 s"),
        CallFailed("MemoryError: "),
    ]
    assert "unexpected keyword argument 'unknown'" in values[6].reason
    assert values[7] == 8


def test_a_worker_serves_many_calls_and_ends_when_closed(target: str) -> None:
    calls = LimitedCalls(target, num_workers=1, seconds=10, memory_mib=1024)
    (process,) = calls.map([{"kind": "process"}])
    assert list(calls.map([{"kind": "process"}] * 2)) == [process, process]
    calls.close()
    assert not Path(f"/proc/{process}").exists()
    (process,) = calls.map([{"kind": "process"}])
    del calls
    assert not Path(f"/proc/{process}").exists()
