"""Concurrent requests with retries to an OpenAI-compatible server, from one thread."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.models.signal_holding import signals_held
from grao_pipeline.plugins import require

API_KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable that holds the API key. The key is read from nowhere else."""
NO_API_KEY = "none"
"""Sent where no key is set: the client requires one, a server on your own machine does not."""
MAX_CONNECTIONS = 1000
"""Limit of the client."""
CONNECT_SECONDS = 10.0
FIRST_CONTACT_RETRIES = 2
"""Few: a mistyped address should fail at once."""
TRANSIENT = (408, 409, 429)
"""Client errors that are tried again, as server errors, broken connections and timeouts are."""
WRONG_API_KEY = (401, 403)
LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class Refusal:
    """A server's answer that the request itself is wrong; it is not sent again.

    Example: `Refusal(400, "This model's maximum context length is 4096 tokens.")`
    """

    status: int
    """4xx, except those about the API key and the transient ones."""
    message: str
    """The server's message, on one line."""


class Server:
    """An OpenAI-compatible server (vLLM, a hosted one, …), called with the `openai` package.

    A request that fails because the server is busy, restarts, breaks the connection or does not answer in time is
    tried again after 0.5, 1, 2, 4 and then every 8 seconds, or after the server's Retry-After. The API key comes from
    `OPENAI_API_KEY`.

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
    ) -> None:
        self._option = option
        if not base_url.startswith(("http://", "https://")):
            raise self._wrong("base_url", f"{base_url!r} is not a URL such as http://localhost:8000/v1.")
        if urlsplit(base_url).username is not None:
            raise self._wrong("base_url", f"the URL holds a user name. Put the API key in {API_KEY_VARIABLE} instead.")
        if not 1 <= concurrency <= MAX_CONNECTIONS:
            raise self._wrong("concurrency", f"{concurrency} is not between 1 and {MAX_CONNECTIONS}.")
        self.base_url = base_url.rstrip("/")
        self._served_model = served_model
        self._concurrency = concurrency
        self._retries = retries
        self._request_timeout = request_timeout
        self._openai: Any = require("openai")

    @cached_property
    def model(self) -> str:
        """The model's name on the server: the given one, else the only one that it serves. Asks the server once.

        Raises:
            UsageError: the server does not serve the given one, or none is given and it serves several.
            StageFailure: the server cannot be reached.
        """
        name = self._served_model
        served = asyncio.run(self._served_models())
        if isinstance(served, Refusal):
            if name is not None:  # some servers have no list; they refuse a wrong name with the first request
                return name
            raise self._wrong(
                "base_url",
                f"{self.base_url}/models answers with status {served.status} ({served.message}). Is the URL right "
                "(most end in /v1)? If it is, name the served model as well.",
            )
        if name is None and len(served) == 1:
            return served[0]
        listed = ", ".join(served) or "no model"
        if name is None:
            raise self._wrong("served_model", f"{self.base_url} serves {listed}. Give the name of one.")
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
            loop = runner.get_loop()
            client = self._client(self._retries)
            try:
                while True:
                    for index, body in islice(numbered, self._concurrency - len(in_flight)):
                        in_flight[loop.create_task(self._request(client.post, path, body=dict(body)))] = index
                    if not in_flight:
                        return
                    with signals_held(loop) as signal_came:
                        runner.run(asyncio.wait({*in_flight, signal_came}, return_when=asyncio.FIRST_COMPLETED))
                    for task in [task for task in in_flight if task.done()]:
                        yield in_flight.pop(task), task.result()
            finally:
                with signals_held(loop):
                    runner.run(_end(client, in_flight))

    def _wrong(self, parameter: str, problem: str) -> UsageError:
        """The error of a wrong parameter, under the option by which the user set it."""
        if self._option:
            return UsageError(f"{parameter}: {problem}", option=self._option)
        return UsageError(problem, option=parameter)

    def _client(self, retries: int) -> Any:
        """A client for one event loop."""
        seconds = self._request_timeout
        return self._openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=os.environ.get(API_KEY_VARIABLE) or NO_API_KEY,
            max_retries=retries,
            timeout=self._openai.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
        )

    async def _served_models(self) -> list[str] | Refusal:
        """The names of the models that the server lists."""
        async with self._client(FIRST_CONTACT_RETRIES) as client:
            answer = await self._request(client.get, "/models")
        if isinstance(answer, Refusal):
            return answer
        try:
            return [str(model["id"]) for model in answer["data"]]
        except (KeyError, TypeError) as error:
            raise StageFailure(f"{self.base_url}/models answered without a list of models: {answer!r:.200}") from error

    async def _request(
        self, send: Callable[..., Awaitable[object]], path: str, **arguments: object
    ) -> dict[str, Any] | Refusal:
        """Send one request, again and again until it is answered.

        Raises:
            StageFailure: all tries failed, or the answer is not a JSON object.
        """
        openai = self._openai
        url = f"{self.base_url}{path}"
        try:
            answer = await send(path, cast_to=object, **arguments)
        except openai.APIStatusError as error:
            if error.status_code in WRONG_API_KEY:
                raise StageFailure(
                    f"{url} does not accept the API key (status {error.status_code}). Set it in {API_KEY_VARIABLE}."
                ) from None
            if 400 <= error.status_code < 500 and error.status_code not in TRANSIENT:
                return Refusal(error.status_code, _server_message(error))
            raise StageFailure(
                f"{url} failed {_tries(error)}; the last time with status {error.status_code}: {_server_message(error)}"
            ) from None
        except openai.APITimeoutError as error:
            raise StageFailure(
                f"{url} failed {_tries(error)}; the last time it did not answer within the request timeout "
                f"of {self._request_timeout:g} seconds."
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


async def _end(client: Any, tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel what is in flight and close the connections."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()


def _server_message(error: Any) -> str:
    """The server's message, on one line and without the API key."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    line = " ".join(str(message or body or error.message).split())
    key = os.environ.get(API_KEY_VARIABLE)
    line = line.replace(key, "…") if key else line
    return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + "…"


def _tries(error: Any) -> str:
    """How often a request was sent; the client writes it into a header."""
    tries = 1 + int(error.request.headers.get("x-stainless-retry-count", 0))
    return "once" if tries == 1 else f"{tries} times"


def _root_cause(error: BaseException) -> str:
    """Why a connection failed; the client's message says only that it did."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error).strip() or type(error).__name__
