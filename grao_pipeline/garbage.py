"""How often Python looks for garbage in cycles."""

import gc


def collect_rarely() -> None:
    """Importing makes many objects that stay, and every collection would look at all of them: torch and transformers
    take a quarter less time to import."""
    gc.set_threshold(100_000)
