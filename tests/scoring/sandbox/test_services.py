"""A sandbox service at a URL, and launchers that do not work here."""

import json
import os
from collections.abc import Iterator
from typing import ClassVar

import pytest

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.sandbox import remote_service
from grao_pipeline.scoring.sandbox.launchers import launcher_named
from grao_pipeline.scoring.sandbox.python_runner import Limits, SuiteRun, run_tests
from grao_pipeline.scoring.sandbox.remote_service import SandboxService
from tests.loopback import QuietHandler, serving
from tests.scoring.common import judge

CODE, TESTS = "def f(x): return x", ["assert f(2) == 2", "assert f(2) == 3"]


class Service(QuietHandler):
    """Runs tests for real, in this process's sandbox; before that, it gives the answers of `script`."""

    script: ClassVar[list[tuple[int, bytes]]] = []
    keys: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Service.keys.append(self.headers["Authorization"])
        if Service.script:
            status, data = Service.script.pop(0)
            self.send(status, data, {"Location": "http://127.0.0.1:1/"} if status == 307 else {})
            return
        run = run_tests(job["code"], job["tests"], Limits(**job["limits"]))
        value = {"passed": run.passed, "problem": run.problem, "failed_at": run.failed_at, "started": run.started}
        self.send(200, json.dumps(value).encode(), {})


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(remote_service, "FIRST_DELAY", 0.001)
    Service.script.clear()
    Service.keys.clear()
    with serving(Service) as url:
        yield url


def test_a_service_gives_the_verdicts_of_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAO_SANDBOX_KEY", "canary")
    arguments = ["workers=1", "partial=true", "timeout=2", f"sandbox={url}"]
    judgement = Judgement(0.5, "ok", "1 of 2 tests passed; test 2: AssertionError: assert f(2) == 3")
    assert judge("python-tests", [CODE], *arguments, tests=TESTS) == [judgement]
    assert judge("python-tests", [CODE], *arguments[:3], "sandbox=process", tests=TESTS) == [judgement]
    assert Service.keys == ["Bearer canary"]


def test_a_busy_service_is_asked_again(url: str) -> None:
    Service.script += [(503, b"{}"), (429, b"{}"), (500, b"")]
    assert SandboxService(url).run_tests(CODE, TESTS, Limits(2, 256)) == SuiteRun(
        (True, False), "AssertionError: assert f(2) == 3", 1
    )
    assert len(Service.keys) == 4


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([(403, b"{}")], "answered with status 403"),
        ([(307, b"{}")], "answered with status 307"),
        ([(503, b"{}")] * 4, "answered with status 503"),
        ([(200, b"")], "answered without one verdict per test"),
        ([(200, b"[" * 100_000)], "answered without one verdict per test"),
        ([(200, b'{"passed": [true]}')], "answered without one verdict per test"),
        ([(200, b'{"passed": [1, 1]}')], "answered without one verdict per test"),
        ([(200, b'{"passed": [true, false]}')], "answered without one verdict per test"),
        ([(200, b'{"passed": [true, true], "failed_at": 7}')], "answered without one verdict per test"),
    ],
)
def test_what_is_no_verdict_fails_the_stage(
    url: str, script: list[tuple[int, bytes]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAO_SANDBOX_KEY", "canary")
    Service.script += script
    with pytest.raises(StageFailure, match=f"The sandbox service {url} {message}") as error:
        SandboxService(url).run_tests(CODE, TESTS, Limits(2, 256))
    assert "canary" not in str(error.value)


def test_nobody_listening_fails_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_service, "FIRST_DELAY", 0.001)
    with pytest.raises(StageFailure, match=r"127\.0\.0\.1:9/ failed: .*refused"):
        SandboxService("http://127.0.0.1:9/").run_tests(CODE, TESTS, Limits(2, 256))


@pytest.mark.parametrize("sandbox", ["firejail", "ftp://host/", "http://", "http://user:pw@host/", "http://h/?key=x"])
def test_a_sandbox_that_cannot_be_is_refused_without_its_secrets(sandbox: str) -> None:
    with pytest.raises(UsageError, match="reward_arg: sandbox") as error:
        judge("python-tests", [CODE], f"sandbox={sandbox}", tests=TESTS)
    assert "pw" not in str(error.value)


def test_launchers_that_do_not_work_say_why(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(UsageError, match=r"sandbox=docker: docker does not work here .*docker"):
        launcher_named("docker")
    assert launcher_named("auto").name in ("process", "bubblewrap")
