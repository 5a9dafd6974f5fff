"""The HTTP layer against a real vLLM server, through a proxy that injects the faults of networks."""

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.free_port import free_port
from grao_pipeline.models.server import Server
from grao_pipeline.models.server_errors import Refusal
from tests.models.fault_proxy import Fault, FaultProxy
from tests.models.vllm_server import VllmServer

ROOT = Path(__file__).parents[2]
KEY = "sk-test-4f1d"


def body(index: int) -> dict[str, Any]:
    """A completion of index + 1 tokens, so that answers tell their requests apart."""
    return {"model": "tiny", "prompt": [5, 6, 7], "max_tokens": index + 1, "ignore_eos": True, "seed": index}


def server(base_url: str, served_model: str | None = None, **changes: Any) -> Server:
    """A server with the limits that most tests use."""
    return Server(base_url, served_model, **{"concurrency": 64, "retries": 10, "request_timeout": 600.0, **changes})


def num_tokens(answers: Iterator[tuple[int, dict[str, Any] | Refusal]]) -> dict[int, int]:
    """Completion tokens of every answer, by index; an index comes once."""
    tokens: dict[int, int] = {}
    for index, answer in answers:
        assert isinstance(answer, dict)
        assert index not in tokens
        tokens[index] = answer["usage"]["completion_tokens"]
    return tokens


def test_every_body_is_answered_once_under_its_index(vllm_server: VllmServer) -> None:
    answers = server(vllm_server.base_url).post("/completions", map(body, range(30)))
    assert num_tokens(answers) == {index: index + 1 for index in range(30)}
    assert list(server(vllm_server.base_url).post("/completions", [])) == []


def test_the_concurrency_limits_requests_in_flight_and_bodies_read(vllm_server: VllmServer) -> None:
    num_read = 0

    def bodies() -> Iterator[dict[str, Any]]:
        nonlocal num_read
        for index in count():
            num_read += 1
            yield body(index % 20)

    with FaultProxy(vllm_server.base_url, while_in_flight=lambda _: proxy.wait_for_posts(3)) as proxy:
        answers = server(proxy.base_url, concurrency=3).post("/completions", bodies())
        for num_answers, _ in enumerate(islice(answers, 20), start=1):
            assert num_read <= num_answers + 3
        answers.close()
        assert proxy.max_in_flight == 3


def test_faults_are_retried_and_every_answer_comes_once(vllm_server: VllmServer) -> None:
    plan: dict[int, Fault] = {0: "500", 1: "429", 2: "hang", 3: "reset", 4: "truncated", 9: "500", 12: "hang"}
    with FaultProxy(vllm_server.base_url, plan) as proxy:
        chosen = server(proxy.base_url, concurrency=5, request_timeout=4)
        assert num_tokens(chosen.post("/completions", map(body, range(12)))) == {i: i + 1 for i in range(12)}
        assert proxy.faults == {"500": 2, "429": 1, "hang": 2, "reset": 1, "truncated": 1}
        assert len(proxy.bodies) >= 12 + 7


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", "failed 2 times; the last time with status 500: out of luck"),
        ("429", "failed 2 times; the last time with status 429: too many"),
        ("hang", r"failed 2 times; the last time it did not answer within the request timeout of 0.5 seconds"),
        ("reset", r"failed 2 times; the last time with: .+ Is the server running\?"),
        ("truncated", "failed 2 times; the last time with: .*(incomplete|closed)"),
    ],
)
def test_a_request_that_always_fails_names_address_tries_and_cause(
    vllm_server: VllmServer, fault: Fault, message: str
) -> None:
    with FaultProxy(vllm_server.base_url, dict.fromkeys(range(50), fault)) as proxy:
        timeout = 0.5 if fault == "hang" else 30
        answers = server(proxy.base_url, retries=1, request_timeout=timeout).post("/completions", [body(0)])
        with pytest.raises(StageFailure, match=f"{proxy.base_url}/completions {message}") as caught:
            list(answers)
        assert "\n" not in str(caught.value)
        assert proxy.faults == {fault: 2}


def test_a_wrong_request_is_refused_with_the_servers_message_and_not_retried(vllm_server: VllmServer) -> None:
    with FaultProxy(vllm_server.base_url) as proxy:
        bodies = [body(0), body(0) | {"prompt": [5] * 300}, body(0) | {"model": "other"}, body(0) | {"n": "many"}]
        answers = dict(server(proxy.base_url).post("/completions", bodies))
        assert isinstance(answers[0], dict)
        refusals = [answers[index] for index in (1, 2, 3)]
        assert [refusal.status for refusal in refusals if isinstance(refusal, Refusal)] == [400, 404, 400]
        assert "maximum context length is 256 tokens" in str(refusals[0])
        assert "`other` does not exist" in str(refusals[1])
        assert len(proxy.bodies) == 4


def test_the_model_is_the_given_one_or_the_only_one(vllm_server: VllmServer) -> None:
    assert server(vllm_server.base_url).model == "tiny"
    assert server(vllm_server.base_url + "/", "tiny").model == "tiny"
    with pytest.raises(UsageError, match=r"served_model: .*/v1 does not serve 'huge'. It serves tiny\."):
        _ = server(vllm_server.base_url, "huge").model


def test_several_models_are_listed_to_choose_from(vllm_server: VllmServer) -> None:
    def and_another(answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"data": [*answer["data"], {"id": "adapter"}]}

    with FaultProxy(vllm_server.base_url, edit=and_another) as proxy:
        with pytest.raises(UsageError, match=r"^served_model: .* serves tiny, adapter. Name one with --served-model\."):
            _ = server(proxy.base_url).model
        assert server(proxy.base_url, "adapter").model == "adapter"


@pytest.mark.slow
def test_an_unreachable_server_is_named_with_the_cause() -> None:
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}/v1"
    with pytest.raises(StageFailure, match=rf"{url}/models failed .*Connect call failed .*Is the server running\?"):
        _ = server(url).model


def test_an_address_without_its_version_is_explained(vllm_server: VllmServer) -> None:
    with pytest.raises(UsageError, match=r"/models answers with status 404 .*most end in /v1"):
        _ = server(vllm_server.base_url.removesuffix("/v1")).model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url: 'localhost:8000' is not a URL such as"),
        ({"base_url": "http://me:secret@host/v1"}, "base_url: the URL holds a user name"),
        ({"base_url": "http://host/v1", "concurrency": 0}, "concurrency: 0 is not between 1 and 1000"),
    ],
)
def test_a_value_that_cannot_work_is_wrong_usage(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        server(**arguments)
    assert "secret" not in str(caught.value)


def test_the_api_key_of_the_environment_is_sent_as_bearer(
    vllm_server: VllmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultProxy(vllm_server.base_url) as proxy:
        chosen = server(proxy.base_url)
        assert num_tokens(chosen.post("/completions", [body(2) | {"model": chosen.model}])) == {0: 3}
        assert proxy.authorizations == {f"Bearer {KEY}"}


def test_no_key_is_needed_where_the_server_wants_none(vllm_server: VllmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert num_tokens(server(vllm_server.base_url).post("/completions", [body(2)])) == {0: 3}


def test_a_server_that_repeats_the_key_does_not_get_it_into_a_message(
    vllm_server: VllmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultProxy(vllm_server.base_url, refuse=lambda _: (422, f"Bearer {KEY} may not do this")) as proxy:
        [(_, answer)] = server(proxy.base_url).post("/completions", [body(0)])
    assert answer == Refusal(422, "Bearer … may not do this")


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted_says_where_to_set_it(
    vllm_server: VllmServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultProxy(vllm_server.base_url, refuse=lambda _: (status, f"wrong key {KEY}")) as proxy:
        answers = server(proxy.base_url).post("/completions", [body(0)])
        with pytest.raises(StageFailure, match=rf"status {status}\)\. Set it in OPENAI_API_KEY") as caught:
            list(answers)
    assert KEY not in str(caught.value)
    assert len(proxy.bodies) == 1


def test_an_error_in_the_bodies_ends_the_requests_in_flight(vllm_server: VllmServer) -> None:
    def bodies() -> Iterator[dict[str, Any]]:
        yield body(0)
        yield body(1)
        raise RuntimeError("no more")

    with FaultProxy(vllm_server.base_url, {1: "hang"}, while_in_flight=lambda _: proxy.wait_for_posts(2)) as proxy:
        answers = server(proxy.base_url, concurrency=2).post("/completions", bodies())
        with pytest.raises(RuntimeError, match="no more"):
            list(answers)
        assert proxy.abandoned.acquire(timeout=30)


def test_closing_the_iteration_ends_the_requests_in_flight(vllm_server: VllmServer) -> None:
    plan: dict[int, Fault] = {1: "hang", 2: "hang"}
    with FaultProxy(vllm_server.base_url, plan, while_in_flight=lambda _: proxy.wait_for_posts(3)) as proxy:
        answers = server(proxy.base_url, concurrency=3).post("/completions", map(body, range(3)))
        next(answers)
        answers.close()
        assert proxy.abandoned.acquire(timeout=30)
        assert proxy.abandoned.acquire(timeout=30)


def test_a_signals_exception_ends_the_requests_in_flight_at_once(vllm_server: VllmServer) -> None:
    code = """
import os, signal, sys, threading
from grao_pipeline.errors import GraoError
from grao_pipeline.models.server import Server

def stop(*_):
    raise GraoError("stopped")

signal.signal(signal.SIGTERM, stop)
body = {"model": "tiny", "prompt": [5], "max_tokens": 1}
try:
    server = Server(sys.argv[1], None, concurrency=8, retries=10, request_timeout=600)
    for number, _ in enumerate(server.post("/completions", [body] * 30)):
        if number == 0:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
except GraoError as error:
    print(error)
"""
    plan: dict[int, Fault] = dict.fromkeys(range(1, 50), "hang")
    with FaultProxy(vllm_server.base_url, plan, while_in_flight=lambda _: proxy.wait_for_posts(8)) as proxy:
        command = [sys.executable, "-W", "always", "-X", "dev", "-c", code, proxy.base_url]
        process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
        assert (process.returncode, process.stdout) == (0, "stopped\n")
        assert "never" not in process.stderr
        # asyncio's remarks on slow steps hold the whole state of a task.
        remarks = r"^Executing <Task pending .* took \d+\.\d+ seconds$"
        assert "pending" not in re.sub(remarks, "", process.stderr, flags=re.MULTILINE)
        assert "Warning" not in process.stderr
        assert proxy.abandoned.acquire(timeout=30)


@pytest.mark.slow
def test_a_signal_among_many_answers_is_neither_lost_nor_printed() -> None:
    """Where the network's callbacks run, an exception would end in one of them. Large answers make that likely."""
    code = """
import itertools, os, signal, sys, threading
from grao_pipeline.errors import GraoError
from grao_pipeline.models.server import Server

def stop(*_):
    raise GraoError("stopped")

signal.signal(signal.SIGTERM, stop)
for attempt in range(15):
    try:
        server = Server(sys.argv[1], None, concurrency=8, retries=10, request_timeout=600)
        for number, _ in enumerate(server.post("/completions", itertools.repeat({}))):
            if number == 8:
                threading.Timer(0.01 * attempt, os.kill, (os.getpid(), signal.SIGTERM)).start()
    except GraoError as error:
        print(error)
"""
    with FaultProxy("http://127.0.0.1:9", refuse=lambda _: (422, "no " * 100_000)) as proxy:
        command = [sys.executable, "-c", code, proxy.base_url]
        process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (process.returncode, process.stdout, process.stderr) == (0, "stopped\n" * 15, "")
