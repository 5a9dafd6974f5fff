"""What several rewards share."""

import os

DEFAULT_WORKERS = min(8, os.cpu_count() or 1)
"""One process per core, within reason."""
LONGEST_DETAIL = 300


def readable(text: str) -> str:
    """`text` as a detail of a judgement: valid Unicode, at most `LONGEST_DETAIL` characters."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST_DETAIL else text[: LONGEST_DETAIL - 1] + "…"
