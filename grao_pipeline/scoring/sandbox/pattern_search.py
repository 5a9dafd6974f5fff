"""A search for a regular expression, which may never end: call it with `LimitedCalls`."""

import re


def matches(pattern: str, full: bool, text: str) -> bool:
    """Whether a pattern matches; `.` also matches line breaks.

    >>> matches("yes|no", True, " yes "), matches("yes|no", True, "yes!")
    (True, False)

    Args:
        full: all of the stripped text, instead of any part of it.
    """
    compiled = re.compile(pattern, re.DOTALL)
    return (compiled.fullmatch(text.strip()) if full else compiled.search(text)) is not None
