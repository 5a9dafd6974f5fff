"""Memory, processors and disks, as the system reports them."""

import os
import platform
import shutil
import tempfile
from pathlib import Path

from grao_pipeline.cache_directory import cache_directory

GIGABYTE = 1e9
LITTLE_DISK = 10.0
"""Gigabytes: less does not hold a model of a few billion weights."""


def machine() -> dict[str, str]:
    """What this machine is, for people."""
    facts = {"python": platform.python_version(), "system": platform.platform()}
    facts["processors"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    memory = _memory()
    return facts if memory is None else {**facts, "memory": memory}


def disks() -> list[tuple[str, str, float]]:
    """(use, path, free gigabytes) of the places that commands write to."""
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    places = {
        "here": Path.cwd(),
        "temporary files": Path(tempfile.gettempdir()),
        "cache of judgements": cache_directory(),
        "models of the hub": hub,
        "shared memory": Path("/dev/shm"),
    }
    measured = []
    for use, path in places.items():
        existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if use != "shared memory" or path.exists():
            measured.append((use, str(path), shutil.disk_usage(existing).free / GIGABYTE))
    return measured


def _memory() -> str | None:
    """Free and total memory, of the container where it has a limit; None where the system does not say."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = (os.sysconf(name) * page for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    bound = f", limited to {int(text) / GIGABYTE:.1f} GB here" if text.isdigit() and int(text) < total else ""
    return f"{free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free{bound}"
