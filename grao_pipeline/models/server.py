"""Concurrent requests with retries to an OpenAI-compatible server, from one thread."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from functools import cached_property
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.models.pace import Pace, counted_tokens
from grao_pipeline.models.server_errors import API_KEY_VARIABLE, Refusal, failure_of, json_object
from grao_pipeline.models.signal_holding import signals_held
from grao_pipeline.plugins import require

NO_API_KEY = "none"
"""Sent where no key is set: the client requires one, a server on your own machine does not."""
MAX_CONNECTIONS = 1000
"""Limit of the client."""
CONNECT_SECONDS = 10.0
FIRST_CONTACT_RETRIES = 2
"""Few: a mistyped address should fail at once."""
FIRST_DELAY, LONGEST_DELAY = 0.5, 8.0
"""Seconds before another try; the delay doubles from the first to the longest."""
LONGEST_PAUSE = 3600.0
"""A server that asks to wait longer (Retry-After) ends the run; the same command resumes it later."""
SECONDS_PER_MINUTE = 60

Send = Callable[..., Awaitable[object]]
"""A method of the client, e.g. `client.post`."""


class Server:
    """An OpenAI-compatible server (vLLM, a hosted one, …), called with the `openai` package.

    A request that fails because the server is busy, restarts, breaks the connection or does not answer in time is
    tried again after 0.5, 1, 2, 4 and then every 8 seconds. Where the server says how long to wait (Retry-After), no
    request is sent for so long; a rate limit (status 429) is not a failure where the server answered another request
    meanwhile. The API key comes from `OPENAI_API_KEY`.

    Example:
        server = Server("http://localhost:8000/v1", None, concurrency=64, retries=10, request_timeout=600.0)
        bodies = ({"model": server.model, "prompt": text, "max_tokens": 16} for text in texts)
        for index, answer in server.post("/completions", bodies):
            ...

    Args:
        base_url: up to and including the version, e.g. `http://localhost:8000/v1`.
        served_model: the model's name on the server; None where it serves only one.
        concurrency: requests in flight, at most 1000.
        retries: further tries of a request that failed.
        request_timeout: seconds of one try.
        option: the option by which the user sets all of these, e.g. `reward_arg`; empty where each is an option of the
            same name. Errors carry it.
        pace: limits of requests and tokens a minute; none by default.

    Attributes:
        rate_limited: answers with status 429 so far.

    Raises:
        UsageError: a value cannot work.
        MissingDependency: the `openai` package is not installed.
    """

    def __init__(
        self,
        base_url: str,
        served_model: str | None,
        concurrency: int,
        retries: int,
        request_timeout: float,
        option: str = "",
        pace: Pace | None = None,
    ) -> None:
        self._option = option
        if not base_url.startswith(("http://", "https://")):
            raise self._wrong("base_url", f"{base_url!r} is not a URL such as http://localhost:8000/v1.")
        if urlsplit(base_url).username is not None or urlsplit(base_url).query:
            problem = "the URL holds a user name or a query."
            raise self._wrong("base_url", f"{problem} Put the API key in {API_KEY_VARIABLE} instead.")
        if not 1 <= concurrency <= MAX_CONNECTIONS:
            raise self._wrong("concurrency", f"{concurrency} is not between 1 and {MAX_CONNECTIONS}.")
        self.base_url = base_url.rstrip("/")
        self._served_model = served_model
        self._concurrency = concurrency
        self._retries = retries
        self._request_timeout = request_timeout
        self._pace = pace or Pace()
        self._num_answered = 0
        self.rate_limited = 0
        self._openai: Any = require("openai")

    @cached_property
    def model(self) -> str:
        """The model's name on the server: the given one, else the only one that it serves. Asks the server once.

        Raises:
            UsageError: the server does not serve the given one, or none is given and it serves several.
            StageFailure: the server cannot be reached.
        """
        name = self._served_model
        served = self._served_models()
        if isinstance(served, Refusal):
            if name is not None:  # some servers have no list; they refuse a wrong name with the first request
                return name
            raise self._wrong(
                "base_url",
                f"{self.base_url}/models answers with status {served.status} ({served.message}). Is the URL right "
                f"(most end in /v1)? If it is, name the model with {self._written('served_model')}.",
            )
        if name is None and len(served) == 1:
            return served[0]
        listed = ", ".join(served) or "no model"
        if name is None:
            raise self._wrong(
                "served_model", f"{self.base_url} serves {listed}. Name one with {self._written('served_model')}."
            )
        if name not in served:
            raise self._wrong("served_model", f"{self.base_url} does not serve {name!r}. It serves {listed}.")
        return name

    def post(
        self, path: str, bodies: Iterable[Mapping[str, object]]
    ) -> Generator[tuple[int, dict[str, Any] | Refusal], None, None]:
        """Send every body; yield its index and its answer as the answers come, in any order.

        A body is taken from `bodies` when there is room for its request. No thread works between two answers, and
        the end of the iteration (by `close()`, an error or a signal's exception) ends the requests in flight at once.

        Args:
            path: follows the base URL, e.g. `/chat/completions`.

        Raises:
            StageFailure: all tries of a request failed, or the server does not accept the API key.
        """
        numbered = enumerate(bodies)
        in_flight: dict[asyncio.Future[dict[str, Any] | Refusal], int] = {}
        with asyncio.Runner() as runner:
            loop, gate = runner.get_loop(), asyncio.Lock()
            client = self._client()
            try:
                while True:
                    for index, body in islice(numbered, self._concurrency - len(in_flight)):
                        in_flight[loop.create_task(self._answer(client.post, path, gate, body=dict(body)))] = index
                    if not in_flight:
                        return
                    with signals_held(loop) as signal_came:
                        runner.run(asyncio.wait({*in_flight, signal_came}, return_when=asyncio.FIRST_COMPLETED))
                    for task in [task for task in in_flight if task.done()]:
                        yield in_flight.pop(task), task.result()
            finally:
                with signals_held(loop):
                    runner.run(_end(client, in_flight))

    def call(self, method: str, path: str, retries: int | None = None, **arguments: object) -> dict[str, Any] | Refusal:
        """Send one request; `post` with a `body`, or `files` to upload.

        Args:
            retries: other than the server's.

        Raises:
            StageFailure: all tries failed, or the server does not accept the API key.
        """
        answer = self._run(method, path, object, retries, **arguments)
        return answer if isinstance(answer, Refusal) else json_object(answer, f"{self.base_url}{path}")

    def read(self, path: str) -> str | Refusal:
        """The text that a path holds.

        Raises:
            StageFailure: all tries failed, or the server does not accept the API key.
        """
        answer = self._run("get", path, str)
        return answer if isinstance(answer, Refusal) else str(answer)

    def remarks(self) -> list[str]:
        """What people should know of how the server answered."""
        if not self.rate_limited:
            return []
        return [f"{self.base_url} answered {self.rate_limited:,} requests with status 429; they were sent again later."]

    def _run(
        self, method: str, path: str, cast_to: type, retries: int | None = None, **arguments: object
    ) -> object | Refusal:
        async def send() -> object:
            async with self._client() as client:
                send_once = getattr(client, method)
                return await self._tried(send_once, path, asyncio.Lock(), cast_to, retries, **arguments)

        return asyncio.run(send())

    def _written(self, parameter: str) -> str:
        """A parameter as the user writes it."""
        if self._option:
            return f"--{self._option.replace('_', '-')} {parameter}=…"
        return f"--{parameter.replace('_', '-')}"

    def _wrong(self, parameter: str, problem: str) -> UsageError:
        """The error of a wrong parameter, under the option by which the user set it."""
        if self._option:
            return UsageError(f"{parameter}: {problem}", option=self._option)
        return UsageError(problem, option=parameter)

    def _client(self) -> Any:
        """A client for one event loop. It tries once: `_tried` decides about further tries."""
        seconds = self._request_timeout
        return self._openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=os.environ.get(API_KEY_VARIABLE) or NO_API_KEY,
            max_retries=0,
            timeout=self._openai.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
        )

    def _served_models(self) -> list[str] | Refusal:
        """The names of the models that the server lists."""
        answer = self._run("get", "/models", object, min(self._retries, FIRST_CONTACT_RETRIES))
        if isinstance(answer, Refusal):
            return answer
        try:
            return [str(model["id"]) for model in json_object(answer, f"{self.base_url}/models")["data"]]
        except (KeyError, TypeError) as error:
            raise StageFailure(f"{self.base_url}/models answered without a list of models: {answer!r:.200}") from error

    async def _answer(self, send: Send, path: str, gate: asyncio.Lock, **arguments: object) -> dict[str, Any] | Refusal:
        """Send one request until it is answered, with a JSON object.

        Raises:
            StageFailure: all tries failed, or the answer is not a JSON object.
        """
        answer = await self._tried(send, path, gate, object, None, **arguments)
        return answer if isinstance(answer, Refusal) else json_object(answer, f"{self.base_url}{path}")

    async def _tried(
        self,
        send: Send,
        path: str,
        gate: asyncio.Lock,
        cast_to: type,
        retries: int | None = None,
        **arguments: object,
    ) -> object | Refusal:
        """Send one request, again and again until it is answered.

        Raises:
            StageFailure: all tries failed, or the server does not accept the API key.
        """
        url = f"{self.base_url}{path}"
        body = arguments.get("body")
        tokens = self._pace.estimate(body) if isinstance(body, Mapping) else 0
        retries = self._retries if retries is None else retries
        tries = failures = 0
        answered_before = self._num_answered
        while True:
            await self._pace.admit(gate, tokens)
            tries += 1
            try:
                answer = await send(path, cast_to=cast_to, **arguments)
            except self._openai.APIError as error:
                failed = failure_of(error, self._openai, url, self._request_timeout)
            except (ValueError, RecursionError) as error:
                raise StageFailure(f"{url} answered with something that is not JSON: {error}.") from None
            else:
                self._num_answered += 1
                self._pace.correct(tokens, counted_tokens(answer, tokens))
                return answer
            self._pace.correct(tokens, 0)
            if isinstance(failed, Refusal):
                return failed
            self.rate_limited += failed.is_rate_limit
            is_moving = failed.is_rate_limit and self._num_answered > answered_before
            failures, answered_before = 0 if is_moving else failures + 1, self._num_answered
            if failures > retries:
                times = "once" if tries == 1 else f"{tries} times"
                raise StageFailure(f"{url} failed {times}; the last time {failed.problem}")
            await self._wait(url, failed.wait, failures)

    async def _wait(self, url: str, asked: float | None, failures: int) -> None:
        """Wait before another try: so long as the server asks for, and all requests with it; else longer each time.

        Raises:
            StageFailure: the server asks for too long a pause.
        """
        if asked is None:
            delay = min(FIRST_DELAY * 2 ** max(0, failures - 1), LONGEST_DELAY)
            await asyncio.sleep(delay * random.uniform(0.75, 1.0))  # not all requests at once
        elif asked > LONGEST_PAUSE:
            minutes = round(asked / SECONDS_PER_MINUTE)
            raise StageFailure(f"{url} asks to wait for {minutes:,} minutes (Retry-After). Run the same command then.")
        else:
            self._pace.pause(asked)


async def _end(client: Any, tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel what is in flight and close the connections."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()
