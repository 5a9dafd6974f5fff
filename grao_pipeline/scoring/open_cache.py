"""`--cache` → the place of judgements that it names."""

import os
from pathlib import Path

from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.scoring.cache import JudgementCache, default_cache_path
from grao_pipeline.scoring.judgements import Judgements
from grao_pipeline.scoring.shared_cache import SharedJudgements


def open_cache(given: str, *, must_exist: bool = False, progress: Progress = SILENT) -> Judgements:
    """The judgements at a place: `auto` is a file of this user; a directory (one that exists, or a name that ends with
    a slash) or a URL is shared by machines; everything else is a file.

    Args:
        must_exist: do not make it, unless it is that of this user.

    Raises:
        InputError: it cannot be opened.
    """
    if "://" in given or given.endswith(os.sep) or Path(given).is_dir():
        return SharedJudgements(given, must_exist=must_exist, progress=progress)
    if given == "auto":
        return JudgementCache(default_cache_path(), progress=progress)
    return JudgementCache(given, must_exist=must_exist, progress=progress)
