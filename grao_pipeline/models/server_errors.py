"""What a server's errors mean: which are answers, which are worth another try, and what they say."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from grao_pipeline.errors import StageFailure

if TYPE_CHECKING:
    from openai import APIError

API_KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable that holds the API key. The key is read from nowhere else."""
RATE_LIMITED = 429
TRANSIENT = (408, 409, RATE_LIMITED)
"""Client errors that are tried again, as server errors, broken connections and timeouts are."""
NOT_IMPLEMENTED = 501
WRONG_API_KEY = (401, 403)
REFUSED_FIELDS = ("response_format", "json_schema", "json_object")
"""A server error that names one of them is a refusal: another try would fail likewise."""
LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class Refusal:
    """A server's answer that the request itself is wrong; it is not sent again.

    Example: `Refusal(400, "This model's maximum context length is 4096 tokens.")`
    """

    status: int
    """4xx, except those about the API key and the transient ones; or a server error that means the same."""
    message: str
    """The server's message, on one line."""


@dataclass(frozen=True)
class Failure:
    """A try that failed and is worth another one.

    Example: `Failure("with status 429: slow down", is_rate_limit=True, wait=2.0)`
    """

    problem: str
    is_rate_limit: bool = False
    wait: float | None = None
    """Seconds that the server asks to wait; None where it does not say."""


def failure_of(error: Exception, openai: ModuleType, url: str, request_timeout: float) -> Failure | Refusal:
    """What an exception of the client means.

    Args:
        openai: the client's package.
        request_timeout: seconds, for the message.

    Raises:
        StageFailure: the server does not accept the API key.
    """
    if isinstance(error, openai.APIStatusError):
        answer: Any = error
        status, message = answer.status_code, server_message(error)
        if status in WRONG_API_KEY:
            raise StageFailure(
                f"{url} does not accept the API key (status {status}). Set it in {API_KEY_VARIABLE}."
            ) from None
        if is_refusal(status, message):
            return Refusal(status, message)
        wait = retry_after(answer.response.headers)
        return Failure(f"with status {status}: {message}", status == RATE_LIMITED, wait)
    if isinstance(error, openai.APITimeoutError):
        return Failure(f"it did not answer within the request timeout of {request_timeout:g} seconds.")
    return Failure(f"with: {root_cause(error)}. Is the server running?")


def is_refusal(status: int, message: str) -> bool:
    """Whether an error is about the request itself."""
    if 400 <= status < 500:
        return status not in TRANSIENT
    return status == NOT_IMPLEMENTED or any(field in message for field in REFUSED_FIELDS)


def server_message(error: "APIError") -> str:
    """The server's message, on one line and without the API key.

    Args:
        error: the client's exception.
    """
    body = error.body
    message = (body.get("message") or body.get("detail")) if isinstance(body, dict) else None
    line = " ".join(str(message or body or error.message).split())
    key = os.environ.get(API_KEY_VARIABLE)
    line = line.replace(key, "…") if key else line
    return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + "…"


def root_cause(error: BaseException) -> str:
    """Why a connection failed; the client's message says only that it did."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error).strip() or type(error).__name__


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait: its Retry-After (seconds or a date) or retry-after-ms; None without one.

    >>> retry_after({"retry-after": "2"})
    2.0
    """
    milliseconds, after = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        if after is not None:
            return max(0.0, float(after))
    except ValueError:
        pass
    try:
        return None if after is None else max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except ValueError:
        return None


def json_object(answer: object, url: str) -> dict[str, Any]:
    """`answer`, which must be a JSON object.

    Raises:
        StageFailure: it is not.
    """
    if not isinstance(answer, dict):
        raise StageFailure(f"{url} answered with something that is not a JSON object: {answer!r:.200}")
    return answer
