"""How fast requests may be sent: the user's limits by the minute, and the pauses that a server asks for."""

import asyncio
import time
from collections.abc import Mapping

LONGEST_SLEEP = 1.0
"""Seconds after which a waiting request looks again: an answer may have cost fewer tokens than were reserved."""
CHARACTERS_PER_TOKEN = 4
SECONDS_PER_MINUTE = 60.0


class Pace:
    """Spaces requests evenly, so that no minute has more requests, or on average more tokens, than allowed.

    The tokens of a request are estimated before it is sent (its texts at four characters a token, and the limit of its
    answer), and corrected by the server's own count when it is answered.

    Args:
        requests_per_minute, tokens_per_minute: None: as many as the concurrency allows.
    """

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> None:
        self._seconds_per_request = SECONDS_PER_MINUTE / requests_per_minute if requests_per_minute else 0.0
        self._seconds_per_token = SECONDS_PER_MINUTE / tokens_per_minute if tokens_per_minute else 0.0
        self._next_request = 0.0
        self._next_tokens = 0.0
        self._pause_end = 0.0

    def estimate(self, body: Mapping[str, object]) -> int:
        """The tokens that a request may cost; 0 where tokens are not limited."""
        return estimated_tokens(body) if self._seconds_per_token else 0

    async def admit(self, gate: asyncio.Lock, tokens: int) -> None:
        """Wait until a request of this many tokens may be sent.

        Args:
            gate: of the running event loop; requests pass it one by one, in the order in which they came.
        """
        async with gate:
            while (delay := self._delay()) > 0:
                await asyncio.sleep(min(delay, LONGEST_SLEEP))
            now = time.monotonic()
            self._next_request = now + self._seconds_per_request
            self._next_tokens = max(now, self._next_tokens) + tokens * self._seconds_per_token

    def correct(self, estimated: int, counted: int) -> None:
        """A request cost another number of tokens than was reserved for it."""
        self._next_tokens += (counted - estimated) * self._seconds_per_token

    def pause(self, seconds: float) -> None:
        """The server asks to wait: nothing is sent for this long."""
        self._pause_end = max(self._pause_end, time.monotonic() + seconds)

    def _delay(self) -> float:
        return max(self._next_request, self._next_tokens, self._pause_end) - time.monotonic()


def estimated_tokens(body: Mapping[str, object]) -> int:
    """The tokens of a request's prompt, estimated, and the limit of its answers."""
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        size = len(prompt)
    else:
        size = -(-_characters(body.get("messages") or prompt) // CHARACTERS_PER_TOKEN)
    limit, answers = (_number(body, *names) for names in (("max_tokens", "max_completion_tokens"), ("n",)))
    return size + limit * max(1, answers)


def counted_tokens(answer: object, estimated: int) -> int:
    """The tokens of a request by the server's own count; the estimate where it gives none."""
    usage = answer.get("usage") if isinstance(answer, Mapping) else None
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else None
    return total if isinstance(total, int) else estimated


def _characters(value: object) -> int:
    """Length of all texts in a JSON value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 0


def _number(body: Mapping[str, object], *names: str) -> int:
    return next((value for name in names if isinstance(value := body.get(name), int)), 0)
