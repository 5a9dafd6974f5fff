"""The record of a checkpoint, a small file next to it: its files with their checksums, and the totals so far."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.errors import DamagedPart, InputError
from grao_pipeline.models.manifest import METRICS
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.file_records import FileRecord, FileRecords, first_difference, parse_records, record_files
from grao_pipeline.storage.json_record import read_record, write_record


@dataclass(frozen=True)
class CheckpointRecord:
    """What belongs to a checkpoint. It is written before the checkpoint gets its name: no checkpoint is without one.

    Example: `step-00000002.json` next to `step-00000002.pt`
    """

    files: FileRecords
    """By the path relative to `checkpoints`; of a sharded checkpoint all files of its directory."""
    metrics: FileRecord
    """`metrics.jsonl` at that time."""
    totals: Mapping[str, Any]
    """The trainer's totals over all steps up to then."""

    @staticmethod
    def of(temporary: Path, name: str, out: Path, totals: Mapping[str, object]) -> "CheckpointRecord":
        """The record of a checkpoint that was written to a temporary place.

        Args:
            name: what the checkpoint will be called.

        Raises:
            OSError: a file cannot be read.
        """
        paths = [temporary] if temporary.is_file() else [path for path in temporary.rglob("*") if path.is_file()]
        records = record_files(temporary.parent, [str(path.relative_to(temporary.parent)) for path in paths])
        files = {name + path.removeprefix(temporary.name): record for path, record in records.items()}
        return CheckpointRecord(files, FileRecord.of(out / METRICS), totals)

    def write(self, checkpoint: Path) -> None:
        """Raises InputError: it cannot be written."""
        path = record_path(checkpoint)
        write_record(Directory(path.parent), path.name, asdict(self))

    @staticmethod
    def verified(checkpoint: Path) -> "CheckpointRecord":
        """The record of a checkpoint, all files of which are as they were written.

        Raises:
            InputError: a file of the checkpoint, or the record, is damaged.
        """
        path = record_path(checkpoint)
        others = [other.name for other in checkpoint.parent.glob("step-????????*") if other.suffix != ".json"]
        earlier = max((name for name in others if name < checkpoint.name), default="the first step")
        remedy = f"Delete {checkpoint} to start again from {earlier}."
        try:
            value = read_record(Directory(path.parent), path.name)
            if value is None:
                raise InputError(f"{checkpoint} has no record {path.name}, so it cannot be verified. {remedy}")
            metrics = FileRecord(**value["metrics"])
            record = CheckpointRecord(parse_records(value["files"]), metrics, value["totals"])
        except DamagedPart as error:
            raise InputError(f"{error} {remedy}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is damaged ({error!r}). {remedy}") from error
        problem = first_difference(checkpoint.parent, record.files)
        if problem is not None:
            raise InputError(f"{problem}. {remedy}")
        return record


def record_path(checkpoint: Path) -> Path:
    """The file of a checkpoint's record."""
    return checkpoint.with_name(f"{checkpoint.name.removesuffix('.pt')}.json")
