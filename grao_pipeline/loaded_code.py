"""Whether the user's modules that this process has imported are still those on disk."""

import os
import site
import sys
import sysconfig
import time
from collections.abc import Iterable

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
        """Whether a file of a module was written after that time: then the module may be that of before."""
        return any(_changed_at(path) > self._since for path in own_files())


def own_files() -> set[str]:
    """The files of modules that were imported from a folder of the user's.

    Installed packages do not count, also where they lie inside that folder (`.venv`), nor do modules that are generated
    somewhere else.
    """
    places = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed = _inside([*places, *site.getsitepackages(), site.getusersitepackages()])
    folders = _inside(
        entry for entry in sys.path if not os.path.join(os.path.realpath(entry), "").startswith(installed)
    )
    names = {str(getattr(module, "__file__", None)) for module in list(sys.modules.values())}
    return {
        name for name in names if name.endswith(".py") and name.startswith(folders) and not name.startswith(installed)
    }


def _inside(folders: Iterable[str]) -> tuple[str, ...]:
    """How the paths of files in these folders begin, which may be links."""
    return tuple(
        {os.path.join(path, "") for name in folders for path in (os.path.abspath(name), os.path.realpath(name))}
    )


def _changed_at(path: str) -> float:
    """When a file was last written, renamed or given other attributes; infinity where it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return float("inf")
    return max(status.st_mtime, status.st_ctime)
