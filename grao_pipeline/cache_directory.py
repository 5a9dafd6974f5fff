"""Where this program keeps what only saves work."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """`GRAO_CACHE`, or `grao-pipeline` in the user's cache directory."""
    given = os.environ.get("GRAO_CACHE")
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else user_cache / "grao-pipeline"
