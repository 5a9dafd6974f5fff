"""`metrics.jsonl`: one line per optimizer step, held against what it was when the checkpoint was written."""

import json
from collections.abc import Mapping
from pathlib import Path

from grao_pipeline.checksums import bytes_checksum
from grao_pipeline.models.manifest import METRICS
from grao_pipeline.storage.atomic import sync, write_atomically
from grao_pipeline.storage.file_records import FileRecord


class MetricsLog:
    """The log of a training. On resume, lines of steps after the checkpoint are removed.

    Args:
        num_steps: steps of the checkpoint; 0 without one.
        written: the file as it was when the checkpoint was written; None without one.

    Attributes:
        problem: what is wrong with the lines of earlier steps, for people; None where they are as they were written.
    """

    def __init__(self, out: Path, num_steps: int = 0, written: FileRecord | None = None) -> None:
        self._path = out / METRICS
        self.problem: str | None = None
        data = self._path.read_bytes() if self._path.is_file() else b""
        earlier = data[: written.bytes] if written else b""
        if written and bytes_checksum(earlier) != written.sha256:
            lines = _readable_lines(data, num_steps)
            earlier = b"".join(lines.values())
            self.problem = _problem(self._path, [step for step in range(1, num_steps + 1) if step not in lines])
        write_atomically(self._path, earlier)

    def append(self, record: Mapping[str, object]) -> None:
        """Add the record of a step.

        Raises:
            OSError: it cannot be written.
        """
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        sync(self._path)


def _readable_lines(data: bytes, num_steps: int) -> dict[int, bytes]:
    """The lines that are the JSON of a step up to `num_steps`, in the order of the steps."""
    lines: dict[int, bytes] = {}
    for line in data.splitlines(keepends=True):
        try:
            step = json.loads(line)["step"]
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if type(step) is int and 1 <= step <= num_steps and line.endswith(b"\n"):
            lines.setdefault(step, line)
    return dict(sorted(lines.items()))


def _problem(path: Path, lost: list[int]) -> str:
    if not lost:
        problem = "lines are not as they were written, and their numbers may be wrong"
    else:
        problem = f"the lines of {len(lost)} steps are lost: {', '.join(map(str, lost[:5]))}"
        problem += ", …" if len(lost) > 5 else ""
    return f"{path} is damaged: {problem}. Weights and totals are right: they come from the checkpoint."
