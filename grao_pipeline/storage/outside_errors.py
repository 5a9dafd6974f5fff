"""What disks and stores raise, in our words: the one place for local files and for the driver of every store."""

import errno
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from grao_pipeline.errors import GraoError, InputError, StageFailure
from grao_pipeline.progress import Progress
from grao_pipeline.redaction import without_credentials

Result = TypeVar("Result")

PAUSES = (1.0, 4.0)
"""Seconds before a request is repeated, after the attempts of the driver."""
PATIENCE_SECONDS = 15.0
"""After this time a request is not repeated: a driver that took it has tried often enough."""
TRANSIENT_STATUSES = {408, 429, 500, 502, 503, 504}
TRANSIENT_ERRORS = (
    "Timeout",
    "ConnectionReset",
    "ConnectionClosed",
    "EndpointConnection",
    "ClientOSError",
    "Disconnected",
    "Payload",
    "Incomplete",
    "Streaming",
    "ChecksumError",
)
"""Parts of the names of the drivers' exceptions for answers that broke off, or arrived damaged."""
UNREACHABLE_ERRORS = ("ConnectionRefused", "gaierror", "DNSError", "NoValidConnections")
"""… and for servers that are not there."""
NETWORK_ERRORS = (*UNREACHABLE_ERRORS, "EndpointConnection", "ConnectionReset", "ClientOSError")
CREDENTIAL_ERRORS = (
    "NoCredentials",
    "PartialCredentials",
    "CredentialRetrieval",
    "DefaultCredentials",
    "TokenRetrieval",
)
LONGEST_REASON = 300
AGAIN = "run the same command again; it resumes"
LOCAL_ADVICE = {
    errno.ENOSPC: f"Free some space, then {AGAIN}",
    errno.EDQUOT: f"Free some of the quota, then {AGAIN}",
    errno.EROFS: "Choose a place that can be written",
    errno.EACCES: "Change its permissions, or choose another place",
    errno.EPERM: "Change its permissions, or choose another place",
    errno.EMFILE: f"Raise the limit of open files (ulimit -n), then {AGAIN}",
    errno.ENFILE: f"Close other programs' files, then {AGAIN}",
    errno.EIO: "The disk does not answer as it should; check it",
}


def attempt(action: str, where: str, operation: Callable[[], Result], is_local: bool, progress: Progress) -> Result:
    """The result of an operation on a file, which may safely be repeated. A store that is overloaded or breaks off is
    asked again a few times.

    Args:
        action: what it does, e.g. `read`.
        where: the path or URL, for messages.

    Raises:
        InputError: it failed; the message says why and what to do.
        StageFailure: there is too little memory.
    """
    pauses: Iterator[float] = iter(() if is_local else PAUSES)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return operation()
        except GraoError:
            raise
        except MemoryError as error:
            raise too_little_memory(f"{action} {where}", error) from error
        except Exception as error:  # every driver (aiohttp, botocore, azure, …) raises its own classes
            is_over = time.monotonic() > deadline or not _is_transient(error)
            pause = None if is_over else next(pauses, None)
            if pause is None:
                raise refused(action, where, error, is_local) from error
            progress.warn(f"Cannot {action} {where} ({reason_of(error)}); trying again in {pause:g} s.")
            time.sleep(pause)


def refused(action: str, where: str, error: Exception, is_local: bool = True) -> InputError:
    """The error that names a file and says what to do."""
    advice = _local_advice(error) if is_local else _store_advice(error)
    return InputError(f"Cannot {action} {where}: {reason_of(error)}.{f' {advice}.' if advice else ''}")


def too_little_memory(what: str, error: BaseException) -> StageFailure:
    """The error for memory that is not there, whatever was to be done."""
    return StageFailure(
        f"Too little memory to {what} ({str(error) or 'no detail'}). Give the process more memory (ulimit -v, the "
        "container's limit), or write the table in smaller parts."
    )


def reason_of(error: BaseException) -> str:
    """What an exception says, on one line, without a period at its end and without credentials."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError) and error.errno is None:  # most drivers give the path alone
        text = "the bucket does not exist" if "bucket" in text else "it does not exist"
    line = without_credentials(" ".join(text.split())).rstrip(".")
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]} …"


def _local_advice(error: Exception) -> str:
    return LOCAL_ADVICE.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def _store_advice(error: Exception) -> str:
    text = " ".join(str(cause) for cause in _causes(error))
    if "NoSuchBucket" in text or "specified bucket" in text:
        return "Create the bucket; this program never does"
    if "Expired" in text:
        return f"Log in again, then {AGAIN}"
    status = http_status(error)
    if status in (401, 403) or isinstance(error, PermissionError) or _is_named(error, CREDENTIAL_ERRORS):
        return (
            "Check the credentials (for s3://: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) and that "
            "they allow to list, read, write and delete there"
        )
    if _is_named(error, NETWORK_ERRORS):
        return f"Check the network and the endpoint (for s3://: AWS_ENDPOINT_URL), then {AGAIN}"
    if _is_transient(error):
        return f"The store has trouble: {AGAIN}"
    return ""


def _is_transient(error: Exception) -> bool:
    status = http_status(error)
    if status is not None:
        return status in TRANSIENT_STATUSES
    return _is_named(error, TRANSIENT_ERRORS) and not _is_named(error, UNREACHABLE_ERRORS)


def http_status(error: BaseException) -> int | None:
    """The HTTP status of an answer that an exception, or its cause, is about; None without one."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):  # botocore
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        for value in (response, *(getattr(cause, name, None) for name in ("status", "status_code", "code"))):
            number = getattr(value, "status_code", value)
            if isinstance(number, int) and 400 <= number < 600:
                return number
    return None


def _is_named(error: BaseException, parts: tuple[str, ...]) -> bool:
    """Whether the class of an exception, or of one of its causes, is called so."""
    names = [kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__]
    return any(part in name for part in parts for name in names)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
