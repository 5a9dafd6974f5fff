"""OpenAI-compatible servers: many requests in flight from one thread, through whatever a network does to them."""

import asyncio
import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.plugins import require

API_KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable that holds the API key: the only place where it is looked for."""
NO_API_KEY = "none"
"""Sent where no key is set: the client insists on one, servers of one's own want none."""
MAX_CONNECTIONS = 1000
"""The client opens no more."""
CONNECT_SECONDS = 10.0
FIRST_CONTACT_RETRIES = 2
"""Few: a mistyped address is to be told at once."""
TRANSIENT = (408, 409, 429)
"""Client errors that pass; like server errors, broken connections and timeouts they are tried again."""
WRONG_API_KEY = (401, 403)
LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class Refusal:
    """A server's answer that the request itself is wrong; sent again, it would be refused again.

    Example: `Refusal(400, "This model's maximum context length is 4096 tokens.")`
    """

    status: int
    """4xx, other than those about the API key and those that pass."""
    message: str
    """The server's own words, on one line."""


class Server:
    """An OpenAI-compatible server (vLLM, a hosted one, …), spoken to with the `openai` package.

    Busy servers, restarts, broken connections and timeouts are waited for: a request is tried again after 0.5, 1, 2, 4
    and then every 8 seconds, or when the server's Retry-After says so. The API key comes from `OPENAI_API_KEY`.

    Example:
        server = Server("http://localhost:8000/v1")
        bodies = ({"model": server.model, "prompt": text, "max_tokens": 16} for text in texts)
        for index, answer in server.post("/completions", bodies):
            ...

    Args:
        base_url: up to and including the version, e.g. `http://localhost:8000/v1`.
        model: name of a model that it serves; the only one, where None.
        concurrency: requests in flight, at most 1000.
        retries: of one request, after its first try.
        timeout_seconds: of one try.

    Raises:
        UsageError: a value that cannot work.
        MissingDependency: the `openai` package is not installed.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        concurrency: int = 64,
        retries: int = 10,
        timeout_seconds: float = 600.0,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise UsageError(f"--base-url {base_url!r}: expected a URL such as http://localhost:8000/v1.")
        if urlsplit(base_url).username is not None:
            raise UsageError(f"--base-url holds a user name. Put the API key in {API_KEY_VARIABLE} instead.")
        if not 1 <= concurrency <= MAX_CONNECTIONS:
            raise UsageError(f"--concurrency {concurrency}: expected 1 to {MAX_CONNECTIONS}.")
        self.base_url = base_url.rstrip("/")
        self._given_model = model
        self._concurrency = concurrency
        self._retries = retries
        self._timeout_seconds = timeout_seconds
        self._openai: Any = require("openai")

    @cached_property
    def model(self) -> str:
        """The name of the model: the given one, else the only one that is served. Asks the server, once.

        Raises:
            UsageError: the given one is not served, or none is given and there are several.
            StageFailure: there is no such server.
        """
        given = self._given_model
        served = asyncio.run(self._served_models())
        if isinstance(served, Refusal):
            if given is not None:  # some servers have no list; a wrong name is refused with the first request
                return given
            raise UsageError(
                f"{self.base_url}/models answers with status {served.status} ({served.message}). Is the URL right "
                "(most end in /v1)? If it is, name the model with --served-model."
            )
        if given is None and len(served) == 1:
            return served[0]
        listed = ", ".join(served) or "none"
        if given is None:
            raise UsageError(f"{self.base_url} serves these models: {listed}. Name one with --served-model.")
        if given not in served:
            raise UsageError(f"--served-model {given}: {self.base_url} does not serve it. It serves: {listed}.")
        return given

    def post(
        self, path: str, bodies: Iterable[Mapping[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any] | Refusal], None, None]:
        """Send every body; yield (its index, the answer) as the answers come, in any order.

        Bodies are asked for as there is room for them. Nothing happens between two answers: there is no thread, and
        whatever ends the iteration (`close()`, an error, a signal's exception) ends the requests in flight at once.

        Args:
            path: behind the base URL, e.g. `/chat/completions`.

        Raises:
            StageFailure: a request failed for good; the API key is not accepted.
        """
        numbered = enumerate(bodies)
        in_flight: dict[asyncio.Future[dict[str, Any] | Refusal], int] = {}
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            client = self._client(self._retries)
            try:
                while True:
                    for index, body in islice(numbered, self._concurrency - len(in_flight)):
                        in_flight[loop.create_task(self._request(client.post, path, body=dict(body)))] = index
                    if not in_flight:
                        return
                    with _signals_held(loop) as signal_came:
                        runner.run(asyncio.wait({*in_flight, signal_came}, return_when=asyncio.FIRST_COMPLETED))
                    for task in [task for task in in_flight if task.done()]:
                        yield in_flight.pop(task), task.result()
            finally:
                with _signals_held(loop):
                    runner.run(_end(client, in_flight))

    def _client(self, retries: int) -> Any:
        """A client for one event loop."""
        seconds = self._timeout_seconds
        return self._openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=os.environ.get(API_KEY_VARIABLE) or NO_API_KEY,
            max_retries=retries,
            timeout=self._openai.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
        )

    async def _served_models(self) -> list[str] | Refusal:
        """The names that the server lists."""
        async with self._client(FIRST_CONTACT_RETRIES) as client:
            answer = await self._request(client.get, "/models")
        if isinstance(answer, Refusal):
            return answer
        try:
            return [str(model["id"]) for model in answer["data"]]
        except (KeyError, TypeError) as error:
            raise StageFailure(f"{self.base_url}/models answered without a list of models: {answer!r:.200}") from error

    async def _request(self, send: Any, path: str, **arguments: Any) -> dict[str, Any] | Refusal:
        """One request, tried until it is answered.

        Raises:
            StageFailure: it never was.
        """
        openai = self._openai
        url = f"{self.base_url}{path}"
        try:
            answer = await send(path, cast_to=object, **arguments)
        except openai.APIStatusError as error:
            said = _said(error)
            if error.status_code in WRONG_API_KEY:
                raise StageFailure(
                    f"{url} does not accept the API key (status {error.status_code}). Set it in {API_KEY_VARIABLE}."
                ) from None
            if 400 <= error.status_code < 500 and error.status_code not in TRANSIENT:
                return Refusal(error.status_code, said)
            raise StageFailure(
                f"{url} failed {_tries(error)}; the last time with status {error.status_code}: {said}"
            ) from None
        except openai.APITimeoutError as error:
            raise StageFailure(
                f"{url} failed {_tries(error)}; the last time it did not answer within {self._timeout_seconds:g} "
                "seconds (--request-timeout)."
            ) from None
        except openai.APIConnectionError as error:
            raise StageFailure(
                f"{url} failed {_tries(error)}; the last time with: {_root_cause(error)}. Is the server running?"
            ) from None
        except ValueError as error:
            raise StageFailure(f"{url} answered with something that is not JSON: {error}") from None
        if not isinstance(answer, dict):
            raise StageFailure(f"{url} answered with something that is not a JSON object: {answer!r:.200}")
        return answer


@contextmanager
def _signals_held(loop: asyncio.AbstractEventLoop) -> Iterator["asyncio.Future[Any]"]:
    """Call signal handlers behind the block instead of in it, where the loop runs: an exception that a handler raises
    inside the loop ends in whichever callback it strikes, or breaks the loop.

    Yields:
        a future that the first signal completes.
    """
    came: asyncio.Future[Any] = loop.create_future()
    held: list[int] = []

    def hold(received: int, _: FrameType | None) -> None:
        held.append(received)
        loop.call_soon_threadsafe(complete)

    def complete() -> None:
        if not came.done():
            came.set_result(None)

    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # no other gets signals
        found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers = {number: handler for number, handler in found.items() if callable(handler)}
    try:
        for number in handlers:
            signal.signal(number, hold)
        yield came
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for received in held:
        signal.raise_signal(received)


async def _end(client: Any, tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel what is in flight and close the connections."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()


def _said(error: Any) -> str:
    """The server's words, on one line and without the API key."""
    body = error.body
    words = body.get("message") if isinstance(body, dict) else None
    line = " ".join(str(words or body or error.message).split())
    key = os.environ.get(API_KEY_VARIABLE)
    line = line.replace(key, "…") if key else line
    return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + "…"


def _tries(error: Any) -> str:
    """How often a request was sent; the client counts in a header."""
    tries = 1 + int(error.request.headers.get("x-stainless-retry-count", 0))
    return "once" if tries == 1 else f"{tries} times"


def _root_cause(error: BaseException) -> str:
    """What was the matter with a connection; the client itself says only that something was."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error).strip() or type(error).__name__
