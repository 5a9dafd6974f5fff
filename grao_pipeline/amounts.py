"""Numbers in the messages for people."""


def of(count: int, total: int, what: str) -> str:
    """`143 of 156 samples (92%)`."""
    return f"{count:,} of {total:,} {what} ({count / max(total, 1):.0%})"


def some(count: int, one: str, several: str) -> str:
    """`1 part is committed` or `3 parts are committed`."""
    return f"{count:,} {one if count == 1 else several}"
