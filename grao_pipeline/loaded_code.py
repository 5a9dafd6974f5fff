"""Whether the user's modules that this process has imported are still those on disk."""

import sys
import sysconfig
import time
from pathlib import Path

PRECISION_SECONDS = 0.1
"""File systems tell the time of a change this precisely, or better."""


class LoadedCode:
    """The modules that this process imports from now on.

    Args:
        since: Unix time; by default now.
    """

    def __init__(self, since: float | None = None) -> None:
        self._since = time.time() - PRECISION_SECONDS if since is None else since

    def has_changed(self) -> bool:
        """Whether a file of a module was written after that time: then the module may be that of before.

        Installed packages do not count, nor do modules that are generated somewhere else.
        """
        return any(_changed_at(path) > self._since for path in _own_files())


def _own_files() -> set[Path]:
    """The files of modules that were imported from a folder of the user's."""
    installed = tuple({sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()})
    folders = tuple(str(Path(entry).resolve()) for entry in sys.path)
    folders = tuple(folder for folder in folders if not folder.startswith(installed))
    names = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {Path(name) for name in names if name and name.endswith(".py") and name.startswith(folders)}


def _changed_at(path: Path) -> float:
    """When a file was last written, renamed or given other attributes; infinity where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return float("inf")
    return max(status.st_mtime, status.st_ctime)
