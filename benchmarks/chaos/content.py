"""What an output holds, without what differs between two runs of the same work: times, and the process that ran."""

import hashlib
import json
from pathlib import Path

from grao_pipeline.storage.json_record import CHECKSUM

VARIES = frozenset(
    {
        *("seconds", "tokens_per_second", "flops_utilization", "started", "finished", "host", "pid", "log"),
        *("resumed_from_step", "padding_share", "made", "found", "output"),
    }
)
"""Keys of JSON objects whose values are times, name a process or a place, or are those of the last run alone."""
IGNORED = (".log", "lock", ".sqlite", ".sqlite-wal", ".sqlite-shm", ".options.json", ".spent.json", ".receipt.json")
"""Ends of the names of files that are not output."""


def content(out: Path) -> dict[str, object]:
    """Path of every file in an output → its checksum, or its JSON without what varies."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and not path.name.endswith(IGNORED))
    return {str(path.relative_to(out)): _content_of(path) for path in files}


def difference(out: Path, undisturbed: Path) -> str | None:
    """The first difference of two outputs; None where they are equal."""
    here, there = content(out), content(undisturbed)
    for name in sorted(here.keys() | there.keys()):
        if name not in there:
            return f"{name} is left over"
        if name not in here:
            return f"{name} is missing"
        if here[name] != there[name]:
            return f"{name} differs"
    return None


def _content_of(path: Path) -> object:
    data = path.read_bytes()
    if path.suffix == ".jsonl":
        return [_steady(json.loads(line)) for line in data.splitlines()]
    if path.suffix == ".json":
        value = json.loads(data)
        return _steady({**value, CHECKSUM: None} if isinstance(value, dict) else value)
    return hashlib.sha256(data).hexdigest()


def _steady(value: object) -> object:
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in VARIES}
    return [_steady(item) for item in value] if isinstance(value, list) else value
