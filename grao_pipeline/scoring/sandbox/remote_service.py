"""A sandbox service at a URL: one POST of a completion's code with its tests, one answer with their verdicts.

Request: `{"code": "…", "tests": ["assert f(2) == 4", …], "limits": {"seconds": 5, "memory_mib": 512}}`.
Answer (status 200): `{"passed": [true, …], "problem": null, "failed_at": null, "started": true}`, as `SuiteRun`.
A server that is busy (408, 429, 5xx) or cannot be reached is asked again. `GRAO_SANDBOX_KEY`, where it is set, is sent
as a bearer token, and appears in no message.
"""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import urlsplit

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.scoring.sandbox.python_runner import WALL_CLOCK_FACTOR, WALL_CLOCK_STARTUP, Limits, SuiteRun

KEY_VARIABLE = "GRAO_SANDBOX_KEY"
BUSY = (408, 429, 500, 502, 503, 504)
TRIES = 4
FIRST_DELAY = 0.5
"""Seconds before the second try; it doubles from try to try."""
MOST_ANSWER_BYTES = 16 << 20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The code and the key go to the server that was named, and to no other."""

    def redirect_request(self, *_: object) -> None:
        return None


class SandboxService:
    """Runs tests through a service.

    Raises:
        UsageError: the URL cannot be one.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        if not is_url:
            raise UsageError(
                f"sandbox={url}: expected auto, process, bubblewrap, docker, or the URL of a sandbox service.",
                option="reward_arg",
            )
        if parts.username is not None or parts.query:
            raise UsageError(
                f"sandbox: the URL of the service holds a user name or a query. Put its key in {KEY_VARIABLE}.",
                option="reward_arg",
            )
        self._url = url
        self._opener = urllib.request.build_opener(_NoRedirect)

    def run_tests(self, code: str, tests: Sequence[str], limits: Limits) -> SuiteRun:
        """As `python_runner.run_tests`.

        Raises:
            StageFailure: the service cannot be reached, refuses, or gives no verdict per test.
        """
        seconds = {"seconds": limits.seconds, "memory_mib": limits.memory_mib}
        body = json.dumps({"code": code, "tests": list(tests), "limits": seconds}).encode()
        timeout = WALL_CLOCK_FACTOR * limits.seconds + 2 * WALL_CLOCK_STARTUP
        for number in range(TRIES):
            try:
                return self._read(self._post(body, timeout), len(tests))
            except urllib.error.HTTPError as error:
                problem = f"answered with status {error.code}"
                error.close()
                if error.code not in BUSY:
                    break
            except (OSError, http.client.HTTPException) as error:
                problem = f"failed: {getattr(error, 'reason', None) or error or type(error).__name__}"
            if number < TRIES - 1:
                time.sleep(FIRST_DELAY * 2**number)
        raise StageFailure(f"The sandbox service {self._url} {problem}. What is scored so far stays in the cache.")

    def _post(self, body: bytes, timeout: float) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = os.environ.get(KEY_VARIABLE)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, body, headers)
        with self._opener.open(request, timeout=timeout) as response:
            answer: bytes = response.read(MOST_ANSWER_BYTES)
        return answer

    def _read(self, answer: bytes, num_tests: int) -> SuiteRun:
        try:
            value = json.loads(answer)
            passed, problem, failed_at = value["passed"], value.get("problem"), value.get("failed_at")
            is_valid = isinstance(passed, list) and len(passed) == num_tests and all(type(p) is bool for p in passed)
            is_valid &= problem is None or isinstance(problem, str)
            is_valid &= failed_at is None or (type(failed_at) is int and 0 <= failed_at < num_tests)
            if is_valid and all(passed) == (problem is None):
                return SuiteRun(tuple(passed), problem, failed_at, value.get("started", True) is True)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        shown = answer[:200].decode("utf-8", "replace")
        raise StageFailure(
            f"The sandbox service {self._url} answered without one verdict per test, and a problem exactly where one "
            f"failed: {shown!r}."
        )
